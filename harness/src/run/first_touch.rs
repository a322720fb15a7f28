//! Touches the memory that a run will use, before the first cell does.
//!
//! On a virtual machine whose host backs memory only when it is first touched, the first touch of a page costs ten times what every later one does. Whichever engine
//! ran first would pay it for all. So as much memory as the run may use, for stores in the page cache and for engines, is allocated, written to page by page, and given back;
//! then a part of it once more, which tells what cells will pay.

use std::hint::black_box;
use std::time::Instant;

use kvdyno_reports::FirstTouch;
use procfs::Current;

const PAGE_BYTES: usize = 4096;
/// Of the second round: enough for a mean.
const AGAIN_BYTES: u64 = 64 << 20;
/// Share of the memory that is free which may be touched: the rest is for what others need meanwhile.
const SHARE_OF_AVAILABLE: f64 = 0.8;

/// Touches so many bytes, or as many as the machine has to give. None if the machine does not tell how much that is.
pub(crate) fn touch(wanted_bytes: u64) -> Option<FirstTouch> {
    let available = procfs::Meminfo::current().ok()?.mem_available?;
    let bytes = wanted_bytes.min((available as f64 * SHARE_OF_AVAILABLE) as u64);
    let first_ns_per_page = touch_once(bytes);
    let again_ns_per_page = touch_once(bytes.min(AGAIN_BYTES));
    Some(FirstTouch { bytes, first_ns_per_page, again_ns_per_page })
}

/// Mean cost of a page. All of the memory is held at once, so that no page is touched twice.
fn touch_once(bytes: u64) -> f64 {
    // Zeroed memory of this size comes fresh from the kernel, which backs it page by page as it is written to.
    let mut memory = vec![0_u8; bytes as usize];
    let began = Instant::now();
    for page in memory.chunks_mut(PAGE_BYTES) {
        page[0] = 1;
    }
    let took = began.elapsed();
    black_box(&memory);
    took.as_nanos() as f64 / (bytes as f64 / PAGE_BYTES as f64).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touching_tells_what_a_page_costs() {
        let touched = touch(8 << 20).unwrap();
        assert_eq!(touched.bytes, 8 << 20);
        assert!(touched.first_ns_per_page > 0.0 && touched.again_ns_per_page > 0.0);
    }
}
