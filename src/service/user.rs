//! Giving root up: a server that was started as root to bind its ports becomes somebody who may do little.
//!
//! System calls through libc, not through rustix: for the kernel each thread has its own user, and only libc changes all
//! of them.

use std::{
    ffi::CString,
    fs, io,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
};

use caps::{CapSet, Capability, CapsHashSet, errors::CapsError};
use nix::{
    errno::Errno,
    unistd::{
        Gid, Uid, User, getegid, geteuid, getgrouplist, getgroups, getresgid, getresuid, setegid, seteuid, setgid,
        setgroups, setuid,
    },
};

use crate::config::ServerConfig;

/// The right to bind ports below 1024.
const BIND: Capability = Capability::CAP_NET_BIND_SERVICE;

/// Name of the file whose making shows that a folder can be written.
const TRIAL: &str = ".alternator-dns-trial";

/// Somebody this process can become.
#[derive(Clone, Debug)]
pub struct Identity {
    name: String,
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

/// Why root cannot be given up.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The name.
    #[error("[server] user: there is no user {0:?} on this machine")]
    Unknown(String),
    /// The database of users.
    #[error("[server] user: {name:?} cannot be looked up: {source}")]
    LookUp {
        /// The name.
        name: String,
        /// The system's reason.
        source: Errno,
    },
    /// A folder that is written while serving.
    #[error(
        "{path} cannot be written by {user}, whom [server] user names: {source}; it belongs to user {owner}, group \
         {group}, mode {mode:o}: change its owner, or choose another folder", path = path.display()
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Whom we are to become.
        user: String,
        /// The folder's.
        owner: u32,
        /// The folder's.
        group: u32,
        /// The folder's permissions.
        mode: u32,
        /// The system's reason.
        source: io::Error,
    },
    /// A folder that is missing.
    #[error("{path} cannot be made for {user}, whom [server] user names: {source}", path = path.display())]
    Make {
        /// The folder.
        path: PathBuf,
        /// Whom it is for.
        user: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A system call.
    #[error("cannot become user {user}: {call}: {source}")]
    Call {
        /// Whom we are to become.
        user: String,
        /// The call.
        call: &'static str,
        /// The system's reason.
        source: Errno,
    },
    /// The capability that is kept.
    #[error("cannot become user {user} with nothing but the right to bind ports: {source}")]
    Capabilities {
        /// Whom we are to become.
        user: String,
        /// The system's reason.
        source: CapsError,
    },
    /// It seemed to work.
    #[error("became user {0}, but not wholly: root could be had again")]
    NotWholly(String),
}

/// Whom this process is to become, once everything is bound; `None` = it stays who it is. Makes sure that whatever is
/// written while serving can be written then. To be called before there are threads.
pub fn successor(server: &ServerConfig) -> Result<Option<Identity>, UserError> {
    let Some(identity) = identity(server.user.as_deref())? else { return Ok(None) };
    if let Some(folder) = &server.state_dir {
        identity.can_write(folder)?;
    }
    // An empty parent is the current folder.
    let control = server.control_path();
    if let Some(folder) = control.as_deref().and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty()) {
        identity.can_write(folder)?;
    }
    Ok(Some(identity))
}

/// Decides whether root is to be given up, and warns where what was asked for cannot be.
fn identity(wanted: Option<&str>) -> Result<Option<Identity>, UserError> {
    let now = geteuid();
    let Some(name) = wanted else {
        if now.is_root() {
            tracing::warn!("running as root; whom [server] user names would take over once everything is bound");
        }
        return Ok(None);
    };
    let look_up = |source| UserError::LookUp { name: name.to_owned(), source };
    let user = User::from_name(name).map_err(look_up)?.ok_or_else(|| UserError::Unknown(name.to_owned()))?;
    if user.uid == now {
        return Ok(None);
    }
    if !now.is_root() {
        tracing::warn!("[server] user: {name} is ignored, only root can become somebody else");
        return Ok(None);
    }
    // A name without NUL: it was found.
    let spelt = CString::new(name).map_err(|_| UserError::Unknown(name.to_owned()))?;
    let groups = getgrouplist(&spelt, user.gid).map_err(look_up)?;
    Ok(Some(Identity { name: name.to_owned(), uid: user.uid, gid: user.gid, groups }))
}

impl Identity {
    /// Makes sure that this user can write in a folder; one that is missing is made, and is theirs. For some moments
    /// this process is them.
    fn can_write(&self, folder: &Path) -> Result<(), UserError> {
        let make = |source| UserError::Make { path: folder.into(), user: self.name.clone(), source };
        if !folder.exists() {
            fs::create_dir_all(folder).map_err(make)?;
            chown(folder, Some(self.uid.as_raw()), Some(self.gid.as_raw())).map_err(make)?;
        }
        let metadata = fs::metadata(folder).map_err(make)?;
        // A real try: owners, groups, access lists, parents and read-only file systems are all in it.
        let tried = self.while_being(|| {
            let trial = folder.join(TRIAL);
            fs::File::create(&trial).and_then(|_| fs::remove_file(&trial))
        })?;
        tried.map_err(|source| UserError::Folder {
            path: folder.into(),
            user: self.name.clone(),
            owner: metadata.uid(),
            group: metadata.gid(),
            mode: metadata.mode() & 0o7777,
            source,
        })
    }

    /// Does something as this user, and is root again.
    fn while_being<T>(&self, act: impl FnOnce() -> T) -> Result<T, UserError> {
        let (gid, groups) = (getegid(), getgroups().map_err(self.failed("getgroups"))?);
        self.borrow()?;
        let done = act();
        seteuid(Uid::from_raw(0)).map_err(self.failed("seteuid"))?;
        setegid(gid).map_err(self.failed("setegid"))?;
        setgroups(&groups).map_err(self.failed("setgroups"))?;
        Ok(done)
    }

    /// Puts this user on, so that it can be taken off again.
    fn borrow(&self) -> Result<(), UserError> {
        setgroups(&self.groups).map_err(self.failed("setgroups"))?;
        setegid(self.gid).map_err(self.failed("setegid"))?;
        seteuid(self.uid).map_err(self.failed("seteuid"))
    }

    /// This process becomes the user, in all its threads, and for good: that root cannot be had again is tried. The calling
    /// thread, and those it starts later, keep the right to bind ports below 1024, for reloads that want more of them.
    pub fn assume(&self) -> Result<(), UserError> {
        let refused = |source| UserError::Capabilities { user: self.name.clone(), source };
        // Of this thread alone; all others lose every capability by the change of user.
        let keeps = caps::has_cap(None, CapSet::Permitted, BIND).map_err(refused)?;
        caps::securebits::set_keepcaps(keeps).map_err(refused)?;
        // The user last: who is not root cannot change groups.
        setgroups(&self.groups).map_err(self.failed("setgroups"))?;
        setgid(self.gid).map_err(self.failed("setgid"))?;
        setuid(self.uid).map_err(self.failed("setuid"))?;
        let kept: CapsHashSet = keeps.then_some(BIND).into_iter().collect();
        // What is in effect must be permitted, so that goes first.
        let nothing = CapsHashSet::default();
        for (set, kept) in [(CapSet::Effective, &kept), (CapSet::Permitted, &kept), (CapSet::Inheritable, &nothing)] {
            caps::set(None, set, kept).map_err(refused)?;
        }
        caps::securebits::set_keepcaps(false).map_err(refused)?;
        self.verify()
    }

    /// Whether nothing is left of root.
    fn verify(&self) -> Result<(), UserError> {
        let users = getresuid().map_err(self.failed("getresuid"))?;
        let groups = getresgid().map_err(self.failed("getresgid"))?;
        let is_user = [users.real, users.effective, users.saved].iter().all(|uid| *uid == self.uid);
        let is_group = [groups.real, groups.effective, groups.saved].iter().all(|gid| *gid == self.gid);
        if !is_user || !is_group || setuid(Uid::from_raw(0)).is_ok() || seteuid(Uid::from_raw(0)).is_ok() {
            return Err(UserError::NotWholly(self.name.clone()));
        }
        Ok(())
    }

    fn failed(&self, call: &'static str) -> impl Fn(Errno) -> UserError {
        move |source| UserError::Call { user: self.name.clone(), call, source }
    }

    /// The user's number.
    pub fn uid(&self) -> u32 {
        self.uid.as_raw()
    }

    /// The user's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}
