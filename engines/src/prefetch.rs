//! Has the processor fetch memory while it goes on with something else. Nothing is read, so that pages that are not in memory stay where they are.

#![allow(unsafe_code, reason = "the only way to ask for it")]

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

/// Fetches the lines in which `values` lie.
#[inline]
pub(crate) fn prefetch<T>(values: &[T]) {
    let start = values.as_ptr().cast::<u8>();
    // A line may begin before them.
    let before = start.addr() % LINE_BYTES;
    let line = start.wrapping_sub(before);
    let end = if values.is_empty() { 0 } else { before + size_of_val(values) };
    for offset in (0..end).step_by(LINE_BYTES) {
        fetch(line.wrapping_add(offset));
    }
}

/// Fetches the line that lies so many `bytes` behind the place `at` in `slice`, or before it, where there may be anything.
#[inline]
pub(crate) fn prefetch_near(slice: &[u8], at: usize, bytes: isize) {
    fetch(slice.as_ptr().wrapping_add(at).wrapping_offset(bytes));
}

#[inline]
fn fetch(place: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: this has no effect but on the caches, whatever lies there, or if nothing does.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = place;
}
