//! What a comparison in network namespaces of one machine cannot tell, and by which rule it speaks of differences.
//! The same words on the page and in a terminal.

/// What to keep in mind before carrying a figure to another machine.
pub(super) const CAVEATS: [(&str, &str); 5] = [
    (
        "One machine for all.",
        "Clients, balancer and servers share the same few processors. More requests per second mean that a request costs \
         less in total, not that the balancer alone can carry so many.",
    ),
    (
        "Wires of memory.",
        "veth pairs have no wire: no line rate, no interrupts and queues of a network card, no loss. Times are those of \
         the kernel's path, not those of a network.",
    ),
    (
        "XDP on veth is not XDP on a card.",
        "With native XDP, a veth pair gives up segmentation offload (TSO): large answers are sent in small packets. Those \
         who use sockets or the kernel's forwarding keep it, so bulk transfers look worse for XDP than on a network \
         card, and what XDP saves before the kernel's own path is smaller.",
    ),
    (
        "Work without an owner.",
        "What the kernel does for packets (XDP, nftables, IPVS) is in no process's time. Processes alone would make it \
         look free; compare the busy time of the whole machine, less that of direct.",
    ),
    (
        "One kernel.",
        "All of them run in the same kernel, with its versions and its settings, in the settings that their makers ship \
         or that the run wrote. Another kernel, or somebody who tunes them, may find another order.",
    ),
];

/// When two subjects differ.
pub(super) const NOISE: &str = "A figure is the median of the rounds; ± is where the median of another run like this \
    one is to be expected in 19 of 20 cases (Student's t from the deviation of the rounds, and at least 5 % each way), \
    as long as nothing else changes: a machine that does other work, too, may be faster or slower an hour later. \
    Two differ when these ranges do not overlap; otherwise there is \"no difference beyond noise\". One sample has no \
    range, and says nothing of differences.";
