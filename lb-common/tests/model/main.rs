//! x
mod manager; mod packets; mod rules; mod search; mod state;
use rules::*; use search::*; use search::feature::*;
const ALL: u32 = RACE | DIE | RECOVER | FLOOD | EXPIRE | CRASH | REUSE;
fn go<R: Rules>(name: &str, f: u32, ch: u8, d: usize, but: Option<Break>) {
    let t = std::time::Instant::now();
    let found = Model::<R>::new(f, ch).search(d, but);
    println!("== {name} depth {d}: {} states, {:?}", found.states, t.elapsed());
    if let Some((k, t)) = found.broken { println!("{k:?}\n{t}"); }
}
#[test]
fn x() {
    let d: usize = std::env::var("FULCRUM_MODEL_DEPTH").map_or(7, |d| d.parse().unwrap());
    go::<Real>("real", ALL, 3, d, None);
    go::<Real>("real spoof", ALL|SPOOF, 3, d, None);
    go::<Real>("syn again", ALL&!RACE|SYN_AGAIN, 3, d, Some(Break::Handshake));
    let e = ALL | STEPS;
    go::<Real>("steps", e, 3, d, None);
    go::<Real>("steps stages", e|STAGES, 3, d, None);
    go::<Real>("steps stages spoof", e|STAGES|SPOOF, 3, d, None);
    go::<Real>("steps stages nobody", e|STAGES|NOBODY, 3, d, None);
    go::<Real>("steps syn again", e&!RACE|SYN_AGAIN, 3, d, Some(Break::Handshake));
    if std::env::var("MUT").is_err() { return; }
    go::<OldWindow>("OldWindow", e, 3, d, None);
    go::<Unclaimed>("Unclaimed", e|STAGES, 3, d, None);
    go::<Abrupt>("Abrupt", e|STAGES, 3, d, None);
}
