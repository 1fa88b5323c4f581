//! What passes an interface, and whether its checksums are right: by dumpcap and tshark, which share no code with us.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use lb_user::net::Namespace;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A capture that goes on until it is ended; killed on drop.
pub struct Capture {
    dumpcap: Child,
    /// What it says at its end is not read, but wants to be said.
    _said: BufReader<ChildStderr>,
    file: PathBuf,
}

/// Packets of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// All checksums are right.
    pub good: usize,
    /// One is wrong, or lacks.
    pub bad: usize,
}

impl Capture {
    /// Captures on `eth0` of a namespace, into a file.
    ///
    /// # Panics
    /// When that cannot be begun.
    #[must_use]
    pub fn start(namespace: &Namespace, file: &Path) -> Self {
        let mut command = Command::new("dumpcap");
        // 64 MiB, so that the kernel has room for what comes while dumpcap gets no processor.
        command.args(["-q", "-i", "eth0", "-B", "64", "-w"]).arg(file);
        // SAFETY: between fork and exec the closure makes one system call, and neither allocates nor locks.
        unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
        let command = namespace.confine(&mut command);
        let mut dumpcap = command.stderr(Stdio::piped()).spawn().expect("dumpcap");
        // It names the file as soon as it captures.
        let mut said = BufReader::new(dumpcap.stderr.take().expect("its errors"));
        let begun = said
            .by_ref()
            .lines()
            .map_while(Result::ok)
            .any(|line| line.starts_with("File: "));
        assert!(begun, "dumpcap does not begin");
        Self {
            dumpcap,
            _said: said,
            file: file.to_owned(),
        }
    }

    /// Ends it, and judges every packet of TCP and UDP from or to `port`: by its source address and protocol.
    ///
    /// # Panics
    /// When tshark cannot read it.
    #[must_use]
    pub fn end(self, port: u16) -> BTreeMap<(String, String), Count> {
        let filter = format!("(tcp.port == {port} || udp.port == {port}) && !icmp && !icmpv6");
        let fields = [
            "ip.src",
            "ipv6.src",
            "ip.checksum.status",
            "tcp.checksum.status",
            "udp.checksum.status",
        ];
        let mut counts: BTreeMap<_, Count> = BTreeMap::new();
        for [v4, v6, ip, tcp, udp] in self.fields(&filter, fields) {
            let protocol = if tcp.is_empty() { "udp" } else { "tcp" };
            let count = counts.entry((format!("{v4}{v6}"), protocol.to_owned())).or_default();
            // 1 is "good". IPv6 has none of its own, and of TCP and UDP there is one.
            let good = if v4.is_empty() { ip.is_empty() } else { ip == "1" };
            if good && format!("{tcp}{udp}") == "1" {
                count.good += 1;
            } else {
                count.bad += 1;
            }
        }
        counts
    }
}

impl Capture {
    /// Ends it, and reads fields of each packet that a display filter of Wireshark's takes; of a field that occurs more
    /// than once, all of them with semicolons between.
    ///
    /// # Panics
    /// When tshark cannot read it.
    #[must_use]
    pub fn fields<const N: usize>(mut self, filter: &str, fields: [&str; N]) -> Vec<[String; N]> {
        kill(Pid::from_raw(self.dumpcap.id().cast_signed()), Signal::SIGINT).expect("dumpcap runs");
        self.dumpcap.wait().expect("dumpcap");
        let mut tshark = Command::new("tshark");
        tshark.arg("-r").arg(&self.file).args(["-n", "-Y", filter]);
        for protocol in ["ip", "tcp", "udp"] {
            tshark.args(["-o", &format!("{protocol}.check_checksum:TRUE")]);
        }
        tshark.args(["-T", "fields", "-E", "separator=,", "-E", "aggregator=;"]);
        tshark.args(fields.iter().flat_map(|field| ["-e", field]));
        let output = tshark.output().expect("tshark");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let packet = |line: &str| {
            let fields: Vec<String> = line.split(',').map(str::to_owned).collect();
            fields.try_into().unwrap_or_else(|_| panic!("{line}: {errors}"))
        };
        String::from_utf8_lossy(&output.stdout).lines().map(packet).collect()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.dumpcap.kill();
        let _ = self.dumpcap.wait();
    }
}
