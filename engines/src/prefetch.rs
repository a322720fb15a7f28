//! Has the processor fetch memory while it goes on with something else.

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

/// Fetches the lines in which `bytes` lie. Nothing is read, so that pages that are not in memory stay where they are.
#[inline]
#[allow(unsafe_code, reason = "the only way to ask for it")]
pub(crate) fn prefetch<T>(values: &[T]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    for offset in (0..size_of_val(values)).step_by(LINE_BYTES) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: fetching has no effect but on the caches, and the place lies in the slice.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(values.as_ptr().cast::<i8>().add(offset)) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = values;
}
