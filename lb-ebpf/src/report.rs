//! The program's messages. Rare: never per packet.

use aya_ebpf::programs::XdpContext;

/// Says that something is not as it should be.
#[inline(always)]
pub(crate) fn report() {
    fulcrum_report();
}

/// A global function, for its stack.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fulcrum_report() -> u32 {
    // The context is not looked at.
    aya_log_ebpf::error!(
        &XdpContext::new(core::ptr::null_mut()),
        "the maps contradict each other; please report this"
    );
    0
}
