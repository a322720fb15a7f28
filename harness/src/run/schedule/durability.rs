//! The durability checks before the first cell of a run.

use super::Schedule;
use crate::failure::Result;
use crate::run::durability_check::{Checks, Verdict};

impl Schedule<'_> {
    /// Checks the class of the run on every engine, and puts what was seen into the result. A class that is broken does not end the run; its exit status tells.
    ///
    /// # Errors
    /// If processes cannot be started, or results not be written.
    pub(crate) fn check_durability(&mut self) -> Result<()> {
        let checks = Checks {
            stores: self.stores,
            interrupt: &self.interrupt,
            timeout: self.plan.cell_timeout,
            rounds: 1,
        };
        let mut classes: Vec<_> =
            self.plan.conditions.iter().map(|conditions| conditions.durability).collect();
        classes.dedup();
        for (engine, durability) in self
            .plan
            .engines
            .iter()
            .flat_map(|engine| classes.iter().map(move |class| (engine, *class)))
        {
            if self.interrupt.requested() {
                break;
            }
            let name = &engine.label;
            self.progress.begin(&format!("durability check · {name}"));
            let (verdict, check) = checks.check(engine, durability)?;
            let said = match verdict {
                Verdict::Kept | Verdict::Skipped => None,
                Verdict::Broken => Some("does not keep"),
                Verdict::Unknown => Some("could not be checked for"),
            };
            if let Some(said) = said {
                let warning = format!("{name} {said} class {durability}: {}", check.note);
                if verdict == Verdict::Broken {
                    self.progress.error(&warning);
                } else {
                    self.progress.note(&format!("note: {warning}"));
                }
                self.result.run.warnings.push(warning);
            } else {
                self.progress.note(&format!("{name}, class {durability}: {}", check.note));
            }
            let info = self.result.engines.iter_mut().find(|info| info.name == *name);
            // Of several classes the one that is broken is what a reader must know.
            if let Some(info) = info
                && info.durability_check.as_ref().is_none_or(|known| known.kept != Some(false))
            {
                info.durability_check = Some(check);
            }
        }
        self.write()
    }
}
