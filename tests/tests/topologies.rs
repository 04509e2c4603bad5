//! Several servers: a cluster whose slots move and whose nodes fail, sentinels and their failover, and alternative
//! hosts.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use monitor::valkey::store::Store;
use monitor::valkey::{Target, ValkeyOptions};
use tests::agent::Agent;
use tests::chain::{self, Chain};
use tests::valkey::Valkey;
use tests::{eventually, free_port, skip};

const TIMEOUT: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_millis(200);
/// The bound of the fault matrix: five seconds, and one for a busy machine.
const BACK: Duration = Duration::from_secs(6);

fn agent(url: &str) -> Agent {
    let arguments =
        ["--interval", "200ms", "--history", "1h", "--disk-interval", "0s", "--scope", "self", "--ebpf", "off"];
    Agent::start(1, &arguments, &[("CONTAINER_NAME", "web"), ("VALKEY_URL", url)])
}

/// Reads the history through the library, which discovers the servers as the agent does.
fn read(url: &str) -> Result<Chain, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = ValkeyOptions { target: Target::parse(url).unwrap(), ..ValkeyOptions::default() };
        let mut store = Store::connect(&options).await.map_err(|error| error.to_string())?;
        let mut page = store.history("web", SystemTime::UNIX_EPOCH).await.map_err(|error| error.to_string())?;
        let mut texts = Vec::new();
        loop {
            texts.extend(page.reports.iter().map(|report| report.document().to_string()));
            let Some(next) = page.next else { break };
            page = store.page("web", &next).await.map_err(|error| error.to_string())?;
        }
        chain::check(texts.iter().map(String::as_bytes), INTERVAL)
    })
}

/// Waits until a sample from after now is in the history, and the history has no gap.
fn written_again(url: &str, agent: &Agent) -> Duration {
    let (wall, began) = (SystemTime::now(), Instant::now());
    let mut back = None;
    let whole = || {
        let chain = read(url).ok()?;
        if chain.last > wall {
            back.get_or_insert_with(|| began.elapsed());
        }
        // The backlog follows the first report.
        (chain.last > wall + INTERVAL * 3).then_some(chain)
    };
    eventually(TIMEOUT, whole).unwrap_or_else(|| panic!("{:?}\n{}", read(url), agent.said()));
    back.unwrap()
}

/// Three masters, and a replica of the first.
struct Cluster {
    nodes: Vec<Valkey>,
}

impl Cluster {
    fn start() -> Option<Self> {
        let nodes = tests::cluster::start(3, 1, &["--appendonly", "yes", "--appendfsync", "always"])?;
        let cluster = Self { nodes };
        let first = cluster.id(0);
        let replicates = || {
            let (name, arguments) = ("CLUSTER", ["REPLICATE", first.as_str()]);
            redis::cmd(name).arg(&arguments).exec(&mut cluster.nodes[3].connection()).ok()
        };
        eventually(TIMEOUT, replicates).expect("no replica");
        cluster.wait();
        Some(cluster)
    }

    fn id(&self, node: usize) -> String {
        self.nodes[node].query(&["CLUSTER", "MYID"])
    }

    /// Waits until all nodes find all slots served, and the replica is in sync.
    fn wait(&self) {
        let good = |node: &Valkey| node.query::<String>(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
        eventually(TIMEOUT, || self.nodes.iter().all(good).then_some(())).expect("the cluster does not come up");
        let linked =
            || self.nodes.iter().any(|node| node.query::<String>(&["INFO", "replication"]).contains("link_status:up"));
        eventually(TIMEOUT, || linked().then_some(())).expect("the replica does not come up");
    }

    fn url(&self) -> String {
        format!("valkey://127.0.0.1:{},127.0.0.1:{}/?cluster=true", self.nodes[1].port, self.nodes[2].port)
    }

    /// The master that has a key.
    fn owner(&self, key: &str) -> usize {
        let has = |node: &Valkey| {
            let found: redis::RedisResult<i64> = redis::cmd("EXISTS").arg(key).query(&mut node.connection());
            found.is_ok_and(|found| found == 1)
        };
        eventually(TIMEOUT, || self.nodes.iter().position(has)).expect("nobody has the key")
    }

    /// Moves the slot of a key with its content to another master, as operators do.
    fn migrate(&self, key: &str, to: usize) {
        let from = self.owner(key);
        let slot: u16 = self.nodes[0].query(&["CLUSTER", "KEYSLOT", key]);
        let slot = slot.to_string();
        let (source, target) = (self.id(from), self.id(to));
        let _: () = self.nodes[to].query(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source]);
        let _: () = self.nodes[from].query(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target]);
        // Between the two, new keys of the slot are answered with ASK.
        std::thread::sleep(Duration::from_millis(500));
        let port = self.nodes[to].port.to_string();
        loop {
            let keys: Vec<String> = self.nodes[from].query(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
            if keys.is_empty() {
                break;
            }
            for key in keys {
                let _: String = self.nodes[from].query(&["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"]);
            }
            std::thread::sleep(Duration::from_millis(300));
        }
        for node in [to, from] {
            let _: () = self.nodes[node].query(&["CLUSTER", "SETSLOT", &slot, "NODE", &target]);
        }
    }
}

#[test]
fn a_cluster_may_move_slots_and_lose_nodes_while_it_is_written_to() {
    let Some(mut cluster) = Cluster::start() else { skip!("valkey-server is not installed") };
    let (url, key) = (cluster.url(), "system:history:web");
    let agent = agent(&url);
    eventually(TIMEOUT, || read(&url).ok().filter(|chain| chain.samples >= 10)).expect("no history");
    let began = read(&url).unwrap().first;

    let owner = cluster.owner(key);
    // The first has a replica that would be promoted.
    let other = if owner == 1 { 2 } else { 1 };
    cluster.migrate(key, other);
    let mut rows = vec![("slots moved", written_again(&url, &agent))];
    assert_eq!(cluster.owner(key), other);
    for moved in ["system:metrics:web", "system:containers", "system:logstream:web"] {
        cluster.migrate(moved, (cluster.owner(moved) + 1) % 3);
    }
    rows.push(("more slots moved", written_again(&url, &agent)));

    cluster.nodes[other].kill();
    std::thread::sleep(Duration::from_secs(4));
    cluster.nodes[other].restart();
    cluster.wait();
    rows.push(("node lost, and back", written_again(&url, &agent)));

    // No replica takes over the slots of the frozen master.
    let frozen = 3 - other;
    cluster.nodes[frozen].signal(libc::SIGSTOP);
    std::thread::sleep(Duration::from_secs(5));
    cluster.nodes[frozen].signal(libc::SIGCONT);
    cluster.wait();
    rows.push(("node frozen", written_again(&url, &agent)));

    cluster.migrate(key, 0);
    let _: () = cluster.nodes[3].query(&["CLUSTER", "FAILOVER"]);
    let promoted = || cluster.nodes[3].query::<String>(&["INFO", "replication"]).contains("role:master").then_some(());
    eventually(TIMEOUT, promoted).expect("no failover");
    rows.push(("replica promoted", written_again(&url, &agent)));

    let chain = read(&url).unwrap();
    assert_eq!(chain.first, began);
    for (what, back) in rows {
        println!("| cluster: {what} | {:.1} s | {} |", back.as_secs_f64(), chain.samples);
        assert!(back <= BACK, "{what}: {back:?}");
    }
    let ended = agent.end(libc::SIGTERM);
    assert!(ended.took < Duration::from_millis(1500) && !ended.said.contains("panicked"), "{ended:?}");
}

struct Sentinel {
    child: Child,
    port: u16,
}

impl Sentinel {
    fn start(master: &Valkey) -> Self {
        let port = free_port();
        let settings = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor main 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 3000\n",
            master.dir.path().display(),
            master.port
        );
        let file = master.path("sentinel.conf");
        std::fs::write(&file, settings).unwrap();
        let mut command = Command::new("valkey-server");
        let child = command.arg(file).arg("--sentinel").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { child, port }
    }

    fn says(&self, words: &str) -> Option<()> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}/", self.port)).ok()?;
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(1)).ok()?;
        let info: String = redis::cmd("INFO").arg("sentinel").query(&mut connection).ok()?;
        info.contains(words).then_some(())
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A server, and a replica of it that has caught up.
fn pair() -> Option<(Valkey, Valkey)> {
    let (master, replica) = (Valkey::start(&[])?, Valkey::start(&[])?);
    let _: () = replica.query(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]);
    let linked = || replica.query::<String>(&["INFO", "replication"]).contains("link_status:up").then_some(());
    eventually(TIMEOUT, linked).expect("the replica does not come up");
    Some((master, replica))
}

#[test]
fn a_failover_of_sentinels_is_followed() {
    let Some((mut master, replica)) = pair() else { skip!("valkey-server is not installed") };
    let sentinel = Sentinel::start(&master);
    eventually(TIMEOUT, || sentinel.says("slaves=1")).expect("the sentinel does not find the replica");
    let url = format!("valkey://127.0.0.1:1,127.0.0.1:{}/?sentinel=main", sentinel.port);
    let agent = agent(&url);
    eventually(TIMEOUT, || read(&url).ok().filter(|chain| chain.samples >= 10)).expect("no history");
    let began = read(&url).unwrap().first;
    master.kill();
    // A sentinel closes all connections of the server that it promotes.
    let role = || replica.try_query::<String>(&["INFO", "replication"]).unwrap_or_default();
    let promoted = || role().contains("role:master").then_some(());
    eventually(TIMEOUT, promoted).expect("no failover");
    let back = written_again(&url, &agent);
    println!("| sentinel: failover | {:.1} s |", back.as_secs_f64());
    assert!(back <= BACK, "{back:?}");
    assert_eq!(read(&url).unwrap().first, began);
}

#[test]
fn of_several_hosts_the_one_that_takes_writes_is_found_and_found_again() {
    let Some((mut master, replica)) = pair() else { skip!("valkey-server is not installed") };
    let url = |first: &Valkey, second: &Valkey| format!("valkey://127.0.0.1:{},127.0.0.1:{}/", first.port, second.port);
    let agent = agent(&url(&replica, &master));
    let enough = || (master.query::<u64>(&["XLEN", "system:history:web"]) >= 10).then_some(());
    eventually(TIMEOUT, enough).unwrap_or_else(|| panic!("no history: {}", agent.said()));
    master.kill();
    std::thread::sleep(Duration::from_secs(2));
    let _: () = replica.query(&["REPLICAOF", "NO", "ONE"]);
    let back = written_again(&url(&replica, &master), &agent);
    println!("| several hosts: replica promoted | {:.1} s |", back.as_secs_f64());
    assert!(back <= BACK, "{back:?}");
}
