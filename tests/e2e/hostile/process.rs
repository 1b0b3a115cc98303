//! What the kernel tells of the server.

use std::fs;

/// The server's process, and the port it listens on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) port: u16,
}

impl Process {
    /// Its memory now, KiB.
    pub(crate) fn resident(self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most it ever was, KiB.
    pub(crate) fn most_resident(self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("the server has ended");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Files and sockets it has open.
    pub(crate) fn descriptors(self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid)).expect("the server has ended").count()
    }

    /// Connections of clients that it has not closed.
    pub(crate) fn connections(self) -> usize {
        const LISTENING: &str = "0A";
        // What has no inode has no descriptor: the kernel alone still waits for its end.
        let is_held = |fields: &Vec<String>| fields[3] != LISTENING && fields[9] != "0";
        self.sockets("tcp").iter().filter(|fields| is_held(fields)).count()
    }

    /// Datagrams that found its sockets full, of all time.
    pub(crate) fn dropped(self) -> u64 {
        self.sockets("udp").iter().map(|fields| fields.last().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// The kernel's words on each socket of the server's port.
    fn sockets(self, protocol: &str) -> Vec<Vec<String>> {
        let port = format!(":{:04X}", self.port);
        let tables = ["", "6"].map(|family| fs::read_to_string(format!("/proc/net/{protocol}{family}")));
        let lines = tables.iter().flatten().flat_map(|table| table.lines().skip(1));
        let fields = lines.map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        fields.filter(|fields| fields[1].ends_with(&port)).collect()
    }
}
