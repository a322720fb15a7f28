//! What the policies of merging cost, simulated: `cargo run --release -p kvdyno-engines --example merge_simulation` tells the same at full size.

use kvdyno_engines::bitcask::MergePolicy;
use kvdyno_engines::bitcask::merge_simulation::{Figures, Load, Merger, Requests, simulate};

const RECORDS: u32 = 200_000;

/// A fifth of a million records: as many data files, a fifth as long.
fn simulated(policy: MergePolicy, requests: Requests, speed: f64) -> Figures {
    let overwrites = 10 * u64::from(RECORDS);
    let load = Load { records: RECORDS, overwrites, key_bytes: 24, value_bytes: 1_000, requests };
    simulate(&load, &Merger { policy, segment_bytes: (64 << 20) / 5, speed })
}

#[test]
fn overwriting_everything_ten_times_writes_twice_as_much_and_takes_two_thirds_more_at_most() {
    // At any speed the room that is left in the end is bounded, and slower merges write less.
    let cases = [
        (Requests::Uniform, f64::INFINITY, 1.95),
        (Requests::Zipfian, f64::INFINITY, 2.15),
        (Requests::Zipf, f64::INFINITY, 1.80),
        (Requests::Uniform, 3.0, 1.80),
        (Requests::Zipfian, 3.0, 1.95),
        (Requests::Zipf, 3.0, 1.65),
    ];
    for (requests, speed, written_at_most) in cases {
        let figures = simulated(MergePolicy::default(), requests, speed);
        let at = format!("{requests:?} at speed {speed}: {figures:?}");
        assert!((1.3..=written_at_most).contains(&figures.write_amplification), "{at}");
        assert!((1.3..=1.67).contains(&figures.space_settled), "{at}");
        assert!((1.3..=1.80).contains(&figures.space_mean), "{at}");
        assert!(figures.space_mean < figures.space_most && figures.space_most <= 2.2, "{at}");
        assert!(figures.files_most <= 60, "{at}");
    }
}

#[test]
fn the_store_as_a_whole_takes_less_room_at_most_than_files_judged_one_by_one_or_writes_less() {
    let both = |requests| {
        [MergePolicy::default(), MergePolicy::basho()]
            .map(|policy| simulated(policy, requests, f64::INFINITY))
    };
    for requests in [Requests::Uniform, Requests::Zipfian] {
        let [whole, files] = both(requests);
        assert!(whole.space_most < 0.85 * files.space_most, "{whole:?}, {files:?}");
        assert!(
            whole.write_amplification < 1.06 * files.write_amplification,
            "{whole:?}, {files:?}"
        );
    }
    let [whole, files] = both(Requests::Zipf);
    assert!(whole.write_amplification < 0.9 * files.write_amplification, "{whole:?}, {files:?}");
}

#[test]
fn without_merges_everything_is_written_once_and_kept() {
    let never = MergePolicy { fragmentation_trigger: 1.1, ..MergePolicy::default() };
    let never = MergePolicy { store_dead_trigger: 1.0, ..never };
    let figures = simulated(never, Requests::Uniform, f64::INFINITY);
    // A frame has 15 bytes before key and value, its length is a multiple of 8, and its entry in a hint has 24.
    let frame_and_hint = (1_040.0 + 24.0) / 1_024.0;
    assert!((figures.write_amplification / frame_and_hint - 1.0).abs() < 0.001, "{figures:?}");
    assert!((figures.space_settled / (11.0 * frame_and_hint) - 1.0).abs() < 0.02, "{figures:?}");
    assert_eq!(figures.merges, 0);
}
