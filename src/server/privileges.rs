//! What threads that read what others send need not be able to do.

/// The calling thread gives up every capability. The one that reloads may have kept one for the sake of new listeners,
/// and threads have what the thread that starts them has.
#[cfg(target_os = "linux")]
pub(super) fn give_up() {
    use caps::CapSet;
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        // To have less is always allowed; where the kernel knows no capabilities, there are none to have.
        if let Err(error) = caps::clear(None, set) {
            tracing::debug!(%error, "a thread keeps its capabilities");
        }
    }
}

/// Elsewhere there are none.
#[cfg(not(target_os = "linux"))]
pub(super) fn give_up() {}
