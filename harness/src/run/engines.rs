//! The engines of a run: the names and variants that a suite or flags give, resolved into adapters with options.

use super::suite::{ALL_ENGINES, DEFAULT_ENGINES, EngineTable, Suite};
use super::workloads::at;
use crate::cli::RunArguments;
use crate::failure::{Failure, Result};
use crate::options::{Assignment, EngineSettings, Options};
use crate::registry::{Adapter, Registry, ResolvedEngine};

/// An engine that was named, with where that was.
struct Named<'a> {
    name: &'a str,
    place: String,
}

/// The engines that are to run, with their options.
pub(super) fn engines<'a>(
    arguments: &RunArguments,
    suite: &Suite,
    registry: &'a Registry,
) -> Result<Vec<ResolvedEngine<'a>>> {
    let names = engine_names(suite, registry)?;
    let typed = EngineSettings {
        write_buffer_mib: suite.write_buffer,
        cache_mib: suite.engine_cache,
        set: assignments(arguments, suite, registry, &names)?,
    };
    names
        .iter()
        .map(|Named { name, place }| {
            let adapter =
                adapter_of(name, suite, registry).map_err(|failure| at(place, failure))?;
            let Some(table) = suite.variant.get(*name) else {
                return registry.resolve(name, &typed);
            };
            let set: Vec<(&str, &str)> = table
                .options
                .iter()
                .map(|(option, value)| (option.get_ref().as_str(), value.0.as_str()))
                .collect();
            let options = Options::layered(adapter, name, Some(&set), &typed)?;
            Ok(ResolvedEngine { label: (*name).to_owned(), adapter, options })
        })
        .collect()
}

/// The adapter of an engine, or of a variant that the suite defines.
fn adapter_of<'a>(name: &str, suite: &Suite, registry: &'a Registry) -> Result<&'a dyn Adapter> {
    match name.split_once('@').filter(|_| suite.variant.contains_key(name)) {
        Some((base, _)) => registry.get(base),
        None => registry.get(name),
    }
}

/// Names of the engines that take part.
fn engine_names<'s>(suite: &'s Suite, registry: &'s Registry) -> Result<Vec<Named<'s>>> {
    check_variants(suite, registry)?;
    let here = |name: &str| registry.get(name).is_ok() || suite.variant.contains_key(name);
    let all = || registry.adapters().map(Adapter::name).filter(|name| *name != "noop");
    let unplaced = |name| Named { name, place: String::new() };
    let Some(given) = &suite.engines else {
        let usual: Vec<_> = DEFAULT_ENGINES.iter().copied().filter(|name| here(name)).collect();
        // A program of one's own may have none of them.
        let usual = if usual.is_empty() { all().collect() } else { usual };
        return Ok(usual.into_iter().map(unplaced).collect());
    };
    if given.is_empty() {
        return Err(Failure::usage(format!(
            "{}: the list is empty, so that nothing would run",
            suite.place_of("engines")
        )));
    }
    let from_flag = suite.is_flag("engine");
    // A built-in suite runs on those of its engines that the build has.
    let built_in = !from_flag && suite.origin.path.is_none();
    let mut names: Vec<Named<'_>> = Vec::new();
    for name in given {
        let place = if from_flag { String::new() } else { suite.origin.place(name) };
        let name = name.get_ref().as_str();
        if name == ALL_ENGINES {
            names.extend(all().map(unplaced));
        } else if here(name) || !built_in {
            names.push(Named { name, place });
        }
    }
    for (index, Named { name, place }) in names.iter().enumerate() {
        if names[..index].iter().any(|earlier| earlier.name == *name) {
            let what = if from_flag { "--engine" } else { "engines" };
            return Err(Failure::usage(format!("{place}{what} names '{name}' twice")));
        }
    }
    Ok(names)
}

/// Variants that a suite defines belong to an engine of the build, and hide none.
fn check_variants(suite: &Suite, registry: &Registry) -> Result<()> {
    for (name, table) in &suite.variant {
        let (text, place) = (name.get_ref(), suite.origin.place(name));
        let Some((base, _)) = text.split_once('@').filter(|(_, variant)| is_plain(variant)) else {
            return Err(Failure::usage(format!(
                "{place}variant '{}': expected the engine's name, '@', and letters, digits or '-', for instance \"lsm@small\"",
                text.escape_debug()
            )));
        };
        if registry.get(text).is_ok() {
            return Err(Failure::usage(format!(
                "{place}variant '{text}' is built in: give yours another name"
            )));
        }
        let adapter = registry.get(base).map_err(|failure| at(&place, failure))?;
        check_options(adapter, table, suite)?;
    }
    Ok(())
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

/// Options in a suite file are checked one by one, so that a message names the line.
fn check_options(adapter: &dyn Adapter, table: &EngineTable, suite: &Suite) -> Result<()> {
    for (option, value) in &table.options {
        let pair = (option.get_ref().as_str(), value.0.as_str());
        Options::resolve(adapter, &[pair]).map_err(|failure| {
            let message = failure.message.trim_start_matches("--set ").to_owned();
            at(&suite.origin.place(option), Failure { message, ..failure })
        })?;
    }
    Ok(())
}

/// Options from the suite and then from `--set`, which wins.
fn assignments(
    arguments: &RunArguments,
    suite: &Suite,
    registry: &Registry,
    names: &[Named<'_>],
) -> Result<Vec<Assignment>> {
    let mut set: Vec<Assignment> = Vec::new();
    for (name, table) in &suite.engine {
        let engine = name.get_ref();
        let place = suite.origin.place(name);
        let adapter = adapter_of(engine, suite, registry).map_err(|failure| at(&place, failure))?;
        check_options(adapter, table, suite)?;
        set.extend(table.options.iter().map(|(option, value)| Assignment {
            engine: engine.clone(),
            option: option.get_ref().clone(),
            value: value.0.clone(),
        }));
    }
    for text in &arguments.set {
        let assignment: Assignment = text.parse()?;
        adapter_of(&assignment.engine, suite, registry)?;
        if !names.iter().any(|named| assignment.is_for(named.name)) {
            let engine = &assignment.engine;
            return Err(Failure::usage(format!(
                "{assignment}: '{engine}' does not take part in this run"
            )));
        }
        set.push(assignment);
    }
    Ok(set)
}
