//! What the system's allocator does with large buffers.

/// Bytes from which a freed buffer goes back to the system.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: libc::c_int = 1 << 20;

/// Has freed buffers of a megabyte and more go back to the system at once. glibc keeps them after it has seen a few, wherever they
/// lie. For the whole process, so a program decides; elsewhere nothing happens.
pub fn give_large_buffers_back() {
    // SAFETY: sets a number inside the allocator, under its lock; any value is allowed.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}
