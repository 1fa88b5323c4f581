//! Nodes that hear each other over a wire that loses, delays and repeats, and that come and go; then it is good.

use proptest::prelude::*;

use super::super::*;
use super::ip;

/// So often the nodes are looked at within an interval.
const STEPS: u32 = 20;

/// What a wire does, and who comes and goes.
#[derive(Clone, Debug)]
struct Weather {
    /// Of a hundred packets.
    lost: u8,
    /// Of a hundred that arrive.
    repeated: u8,
    /// Steps that a packet takes at most, besides one.
    late: u8,
    /// Two parts of the wire do not hear each other: the nodes below, and the others.
    split: usize,
    /// Steps until the next weather.
    lasts: u16,
    /// The nodes that begin or end with it, by bits.
    turned: u8,
    /// Those that end do not say so.
    killed: bool,
}

fn weather() -> impl Strategy<Value = Weather> {
    let any = (
        0..=100u8,
        0..50u8,
        0..40u8,
        0..6usize,
        1..200u16,
        0..32u8,
        any::<bool>(),
    );
    any.prop_map(|(lost, repeated, late, split, lasts, turned, killed)| Weather {
        lost,
        repeated,
        late,
        split,
        lasts,
        turned,
        killed,
    })
}

struct Wire {
    nodes: Vec<Option<Machine>>,
    priorities: Vec<u8>,
    settings: Settings,
    /// What is under way: when it arrives, where, and what.
    packets: Vec<(Instant, usize, Heard)>,
    now: Instant,
    /// State of a generator.
    random: u64,
}

impl Wire {
    fn chance(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 33) % below
    }

    fn step(&self) -> Duration {
        self.settings.interval / STEPS
    }

    fn handle(&mut self, node: usize, event: Event, weather: Option<&Weather>) {
        let Some(machine) = &mut self.nodes[node] else { return };
        let effects = machine.handle(event, self.now);
        let over = machine.is_over();
        if over {
            self.nodes[node] = None;
        }
        for effect in effects {
            if let Effect::Advertise(priority) = effect {
                self.send(node, priority, weather);
            }
        }
    }

    fn send(&mut self, from: usize, priority: u8, weather: Option<&Weather>) {
        let heard = Heard {
            from: ip(from as u8 + 1),
            priority,
            interval: self.settings.interval,
        };
        for to in (0..self.nodes.len()).filter(|&to| to != from) {
            let times = match weather {
                Some(w) if (from < w.split) != (to < w.split) => 0,
                Some(w) if self.chance(100) < u64::from(w.lost) => 0,
                Some(w) if self.chance(100) < u64::from(w.repeated) => 2,
                _ => 1,
            };
            for _ in 0..times {
                let late = weather.map_or(0, |w| self.chance(u64::from(w.late) + 1)) as u32;
                self.packets.push((self.now + self.step() * (1 + late), to, heard));
            }
        }
    }

    fn advance(&mut self, weather: Option<&Weather>) {
        self.now += self.step();
        let now = self.now;
        let (arrived, under_way): (Vec<_>, Vec<_>) = self.packets.drain(..).partition(|(at, ..)| *at <= now);
        self.packets = under_way;
        for (_, to, heard) in arrived {
            self.handle(to, Event::Heard(heard), weather);
        }
        for node in 0..self.nodes.len() {
            self.handle(node, Event::Time, weather);
        }
    }

    fn begin(&mut self, node: usize, weather: Option<&Weather>) {
        let mut machine = Machine::new(self.settings.clone(), self.priorities[node]);
        machine.set_address(Some(ip(node as u8 + 1)));
        let effects = machine.handle(Event::Start, self.now);
        assert!(
            matches!(effects[..], [Effect::Became(Role::Backup, Reason::Started)]),
            "{weather:?}"
        );
        self.nodes[node] = Some(machine);
    }

    fn turn(&mut self, node: usize, weather: &Weather) {
        match &self.nodes[node] {
            None => self.begin(node, Some(weather)),
            Some(_) if weather.killed => self.nodes[node] = None,
            Some(_) => self.handle(node, Event::Stop, Some(weather)),
        }
    }

    fn masters(&self) -> Vec<usize> {
        let is_master = |node: &usize| self.nodes[*node].as_ref().is_some_and(|m| m.role() == Role::Master);
        (0..self.nodes.len()).filter(is_master).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// Whatever has happened: soon after the wire is good exactly one node is master, and stays it; with preemption it is
    /// the best. Soon is three master-down intervals: one in which a node that goes is waited for, one in which a worse
    /// one takes over, and one in which a better one waits it out.
    #[test]
    fn there_comes_to_be_one_master(
        priorities in prop::collection::vec(1..=254u8, 1..=5),
        weathers in prop::collection::vec(weather(), 0..6),
        preempt in any::<bool>(),
        centiseconds in 1..=200u64,
        random in any::<u64>(),
    ) {
        let interval = Duration::from_millis(10 * centiseconds);
        let mut wire = Wire {
            nodes: vec![None; priorities.len()],
            priorities,
            settings: Settings { version: VrrpVersion::V3, interval, preempt, preempt_delay: Duration::ZERO },
            packets: Vec::new(),
            now: Instant::now(),
            random,
        };
        for weather in &weathers {
            for node in (0..wire.nodes.len()).filter(|node| weather.turned & 1 << node != 0) {
                wire.turn(node, weather);
            }
            (0..weather.lasts).for_each(|_| wire.advance(Some(weather)));
        }
        wire.packets.clear();
        for node in 0..wire.nodes.len() {
            if wire.nodes[node].is_none() {
                wire.begin(node, None);
            }
        }
        (0..3 * 4 * STEPS).for_each(|_| wire.advance(None));
        // Those that were asked to end have done so.
        let there: Vec<usize> = (0..wire.nodes.len()).filter(|node| wire.nodes[*node].is_some()).collect();
        let masters = wire.masters();
        prop_assert_eq!(masters.len(), usize::from(!there.is_empty()), "{:?}", wire.nodes);
        if let (true, Some(&master)) = (preempt, masters.first()) {
            let best = there.iter().map(|&node| wire.priorities[node]).max();
            prop_assert_eq!(Some(wire.priorities[master]), best);
        }
        for _ in 0..10 * STEPS {
            wire.advance(None);
            prop_assert_eq!(wire.masters(), masters.clone());
        }
    }
}
