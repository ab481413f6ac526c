//! What the system's allocator does with large buffers.

/// Bytes from which a freed buffer goes back to the system.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: libc::c_int = 1 << 20;

/// Makes the allocator return freed buffers of a megabyte and more to the system at once. By default,
/// glibc begins to keep such buffers after the first few.
///
/// This holds for the whole process, so a program calls it, not a library. Without glibc it does nothing.
pub fn give_large_buffers_back() {
    // SAFETY: sets a number inside the allocator, under its lock; any value is allowed.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}
