//! What a reader must know before trusting figures, where it follows from how a run was set up and so can be derived again when results are joined.

/// Of runs with one trial.
pub const ONE_TRIAL: &str =
    "one trial: differences of a few per cent may be chance (--trials 5 shows the spread)";

/// Of runs with more client threads than processors; none of others.
pub fn shared_processors(threads: u32, cpus: u32) -> Option<String> {
    (threads > cpus).then(|| format!("{threads} client threads share {cpus} processors"))
}
