//! Messages between peers.
//!
//! ```text
//! 1  flows      as many records as fit
//! 2  whole      what the caller knew at the beginning has been told
//! 3  alive      nothing
//! 4  taken      number of the message (8)
//! 5  certificate  what whoever orders certificates has written, which is nobody else's
//!
//! record        kind (1): 1 known, 2 translated
//!               protocol (1), flags (2), age (4), sequence number or what was seen (4), most silence (4)
//!               client and VIP (16 each, IPv4 mapped), their ports (2 each)
//!               backend (16), its port (2), whom it sees (16), from which port (2), client's MAC (6)
//! ```
//!
//! Numbers are big-endian, times in [`Ticks`].

use lb_common::addr::{Ipv6Be, Mac, PortBe};
use lb_common::flow::Ports;
use lb_common::nat::{NatKey, Ticks};
use lb_common::service::protocol;

use super::seal::LONGEST;
use crate::control::shared::BATCH;
use crate::model::Hidden;
use crate::model::peers::{FlowState, SharedFlow};

/// Bytes of a record.
const RECORD: usize = 94;

const _: () = assert!(BATCH * RECORD < LONGEST);

/// What one side says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// What the caller knows of flows.
    Flows(Vec<SharedFlow>),
    /// All that the caller knew at the beginning has been told.
    Whole,
    /// It is there.
    Alive,
    /// What the caller knows of certificates, a piece of it. Who does not order any says nothing of it, so that an earlier
    /// release, which does not know this, does not hear it.
    Certificate(Hidden<Vec<u8>>),
    /// The listener has taken in what this message said.
    Taken(u64),
}

impl Message {
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Flows(flows) => flows_message(flows),
            Self::Whole => vec![2],
            Self::Alive => vec![3],
            Self::Certificate(bytes) => [&[5][..], &bytes.0].concat(),
            Self::Taken(number) => [&[4][..], &number.to_be_bytes()].concat(),
        }
    }

    /// `None` for what makes no sense.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&kind, rest) = bytes.split_first()?;
        match kind {
            1 if rest.len().is_multiple_of(RECORD) => {
                let flows = rest.chunks_exact(RECORD).map(flow);
                Some(Self::Flows(flows.collect::<Option<_>>()?))
            }
            2 if rest.is_empty() => Some(Self::Whole),
            3 if rest.is_empty() => Some(Self::Alive),
            4 => Some(Self::Taken(u64::from_be_bytes(rest.try_into().ok()?))),
            5 => Some(Self::Certificate(Hidden(rest.to_vec()))),
            _ => None,
        }
    }
}

/// [`Message::Flows`], from where they are.
pub(super) fn flows_message(flows: &[SharedFlow]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + flows.len() * RECORD);
    bytes.push(1);
    flows.iter().for_each(|flow| put(&mut bytes, flow));
    bytes
}

fn put(bytes: &mut Vec<u8>, flow: &SharedFlow) {
    let nobody = (Ipv6Be::default(), PortBe::default());
    let (kind, flags, word, idle, source, client) = match flow.state {
        FlowState::Known { flags, sequence } => (1, flags, sequence, 0, nobody, Mac::default()),
        FlowState::Translated {
            source,
            client,
            idle,
            seen,
        } => (2, 0, seen, idle, source, client),
    };
    bytes.extend([kind, flow.key.protocol as u8]);
    bytes.extend(flags.to_be_bytes());
    bytes.extend(flow.age.to_be_bytes());
    bytes.extend(word.to_be_bytes());
    bytes.extend(idle.to_be_bytes());
    bytes.extend(flow.key.source.octets());
    bytes.extend(flow.key.destination.octets());
    bytes.extend(flow.key.ports.source.host().to_be_bytes());
    bytes.extend(flow.key.ports.destination.host().to_be_bytes());
    for (address, port) in [flow.backend, source] {
        bytes.extend(address.octets());
        bytes.extend(port.host().to_be_bytes());
    }
    bytes.extend(client.0);
}

/// Reads numbers and addresses from the front of a record, which has enough of them.
struct Record<'a>(&'a [u8]);

impl Record<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn word(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn port(&mut self) -> Option<PortBe> {
        self.take().map(u16::from_be_bytes).map(PortBe::new)
    }

    fn address(&mut self) -> Option<Ipv6Be> {
        self.take().map(Ipv6Be::new)
    }
}

fn flow(record: &[u8]) -> Option<SharedFlow> {
    let mut record = Record(record);
    let [kind, protocol] = record.take()?;
    if !matches!(protocol, protocol::TCP | protocol::UDP) {
        return None;
    }
    let flags = record.take().map(u16::from_be_bytes)?;
    let (age, word, idle) = (record.word()?, record.word()?, record.word()?);
    let (source, destination) = (record.address()?, record.address()?);
    let key = NatKey {
        source,
        destination,
        ports: Ports {
            source: record.port()?,
            destination: record.port()?,
        },
        protocol: protocol.into(),
    };
    let backend = (record.address()?, record.port()?);
    let source = (record.address()?, record.port()?);
    let client = Mac(record.take()?);
    let state = match kind {
        1 => FlowState::Known { flags, sequence: word },
        2 => FlowState::Translated {
            source,
            client,
            idle,
            seen: word,
        },
        _ => return None,
    };
    // One family from end to end, as a flow has it.
    let v4 = key.source.is_v4();
    let one = key.destination.is_v4() == v4;
    let age: Ticks = age.min(Ticks::MAX / 4);
    one.then_some(SharedFlow {
        key,
        backend,
        age,
        state,
    })
}

/// Reads a message that came from anywhere, for the fuzzer.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    if let Some(message) = Message::decode(bytes) {
        assert_eq!(
            Message::decode(&message.encode()),
            Some(message),
            "what is read can be written"
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in super::super) fn any_flow() -> impl Strategy<Value = SharedFlow> {
        let address = |v4: bool, bytes: [u8; 16]| match v4 {
            true => Ipv6Be::mapped_v4(lb_common::addr::Ipv4Be::new([bytes[0], bytes[1], bytes[2], bytes[3]])),
            false => {
                // No mapped one.
                let mut bytes = bytes;
                bytes[0] |= 0x20;
                Ipv6Be::new(bytes)
            }
        };
        let state = prop_oneof![
            (any::<u16>(), any::<u32>()).prop_map(|(flags, sequence)| FlowState::Known { flags, sequence }),
            (
                any::<[u8; 16]>(),
                any::<u16>(),
                any::<[u8; 6]>(),
                any::<u32>(),
                any::<u32>()
            )
                .prop_map(|(source, port, client, idle, seen)| FlowState::Translated {
                    source: (Ipv6Be::new(source), PortBe::new(port)),
                    client: Mac(client),
                    idle,
                    seen,
                }),
        ];
        let ends = (any::<bool>(), any::<[[u8; 16]; 3]>(), any::<[u16; 3]>());
        (ends, any::<bool>(), 0..=Ticks::MAX / 4, state).prop_map(
            move |((v4, [source, destination, backend], [from, to, port]), tcp, age, state)| SharedFlow {
                key: NatKey {
                    source: address(v4, source),
                    destination: address(v4, destination),
                    ports: Ports {
                        source: PortBe::new(from),
                        destination: PortBe::new(to),
                    },
                    protocol: if tcp { protocol::TCP } else { protocol::UDP }.into(),
                },
                backend: (Ipv6Be::new(backend), PortBe::new(port)),
                age,
                state,
            },
        )
    }

    proptest! {
        #[test]
        fn messages_are_read_as_they_were_written(flows in prop::collection::vec(any_flow(), 0..=BATCH)) {
            let message = Message::Flows(flows);
            let bytes = message.encode();
            prop_assert!(bytes.len() <= LONGEST);
            prop_assert_eq!(Message::decode(&bytes), Some(message));
        }

        #[test]
        fn anything_else_is_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            fuzz(&bytes);
        }
    }

    #[test]
    fn short_messages() {
        for message in [
            Message::Whole,
            Message::Alive,
            Message::Taken(u64::MAX - 3),
            Message::Certificate(Hidden(b"{}".to_vec())),
        ] {
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
        let wrong: [&[u8]; 8] = [&[], &[0], &[6], &[2, 0], &[3, 0], &[4], &[4, 0, 0], &[1, 1]];
        for bytes in wrong {
            assert_eq!(Message::decode(bytes), None, "{bytes:?}");
        }
        let mut record = [0; 1 + RECORD];
        (record[0], record[1], record[2]) = (1, 1, protocol::TCP);
        assert!(Message::decode(&record).is_some());
        for (place, value) in [(1, 0), (1, 3), (2, protocol::ICMP)] {
            let mut wrong = record;
            wrong[place] = value;
            assert_eq!(Message::decode(&wrong), None, "{place}");
        }
    }
}
