//! The task that looks at files.

use std::path::PathBuf;

use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
    time::{Instant, sleep_until},
};

use super::watch::{LOOK_EVERY, Watch};

/// Orders that wait; whoever gives one waits until it is carried out.
const ORDERS: usize = 4;

/// Changes that wait for whoever reloads. While one waits nothing more is looked at: the reload reads everything anyway.
const CHANGES: usize = 1;

/// Files that are looked at by a task of their own, so that a file system that hangs holds nobody up.
#[derive(Debug)]
pub struct Files {
    orders: mpsc::Sender<Order>,
    changed: mpsc::Receiver<Vec<PathBuf>>,
}

#[derive(Debug)]
struct Order {
    /// What is watched from now on; `None` = the same.
    follow: Option<Vec<PathBuf>>,
    /// What all of them hold now is known.
    take: bool,
    done: oneshot::Sender<()>,
}

impl Files {
    /// No files yet. The task ends when this is dropped.
    pub fn start() -> Self {
        let (orders, to_do) = mpsc::channel(ORDERS);
        let (tell, changed) = mpsc::channel(CHANGES);
        tokio::spawn(run(Watch::default(), to_do, tell));
        Files { orders, changed }
    }

    /// Watches exactly these files from now on; see [`Watch::follow`].
    pub async fn follow(&self, paths: Vec<PathBuf>) {
        self.order(Some(paths), false).await;
    }

    /// The caller reads all files after this, whatever they hold: no change until now is told any more.
    pub async fn take(&mut self) {
        self.order(None, true).await;
        while self.changed.try_recv().is_ok() {}
    }

    /// Waits until files hold something else; `None` when the task has ended, which it never should.
    pub async fn changed(&mut self) -> Option<Vec<PathBuf>> {
        self.changed.recv().await
    }

    async fn order(&self, follow: Option<Vec<PathBuf>>, take: bool) {
        let (done, wait) = oneshot::channel();
        // A task that has ended is told of by `changed`.
        if self.orders.send(Order { follow, take, done }).await.is_ok() {
            let _ = wait.await;
        }
    }
}

/// Looks and carries out orders, until nobody gives any.
async fn run(mut watch: Watch, mut orders: mpsc::Receiver<Order>, tell: mpsc::Sender<Vec<PathBuf>>) {
    let mut next = Instant::now() + LOOK_EVERY;
    loop {
        let order = tokio::select! {
            order = orders.recv() => match order {
                Some(order) => Some(order),
                None => return,
            },
            () = sleep_until(next) => None,
        };
        // A change that waits to be taken covers what changes meanwhile, and whoever gives orders must not wait for it.
        let may_look = tell.capacity() > 0;
        let turn = spawn_blocking(move || {
            let changed = match order {
                Some(Order { follow, take, done }) => {
                    follow.into_iter().for_each(|paths| watch.follow(paths));
                    if take {
                        watch.take();
                    }
                    let _ = done.send(());
                    None
                }
                None if may_look => Some(watch.look()),
                None => Some(Vec::new()),
            };
            (watch, changed)
        });
        let Ok((returned, looked)) = turn.await else { return };
        watch = returned;
        if let Some(changed) = looked {
            next = Instant::now() + LOOK_EVERY;
            if !changed.is_empty() {
                // There is room: only this task fills it.
                let _ = tell.try_send(changed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_change_is_told_and_one_that_is_read_anyway_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "one").unwrap();
        let mut files = Files::start();
        files.follow(vec![path.clone()]).await;
        fs::write(&path, "two").unwrap();
        let told = timeout(Duration::from_secs(20), files.changed()).await.unwrap();
        assert_eq!(told, Some(vec![path.clone()]));
        fs::write(&path, "three").unwrap();
        files.take().await;
        assert!(timeout(3 * LOOK_EVERY, files.changed()).await.is_err());
    }
}
