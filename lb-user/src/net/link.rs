//! Network interfaces.

use futures_util::TryStreamExt;
use lb_common::addr::Mac;
use nix::errno::Errno;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage, LinkXdp};

use super::error::{self, Context};
use super::{Error, Net};

/// A network interface as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index in this namespace; never 0.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its address, if it is an Ethernet.
    pub mac: Option<Mac>,
    /// Largest packet, in bytes without the Ethernet header.
    pub mtu: u32,
    /// Switched on by the administrator.
    pub up: bool,
    /// Switched on, and with a carrier.
    pub running: bool,
    /// The bridge that it is a port of.
    pub master: Option<u32>,
    /// Id of an XDP program that is attached.
    pub xdp: Option<u32>,
}

impl Net {
    /// Every interface of the namespace, by index.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub async fn links(&self) -> Result<Vec<Link>, Error> {
        let _turn = self.dumping().await;
        let messages: Vec<LinkMessage> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .doing(|| "listing interfaces".into())?;
        let mut links: Vec<Link> = messages.into_iter().map(Link::from).collect();
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// The interface of this name; `None` when there is none.
    ///
    /// # Errors
    /// When the kernel does not answer, or the name cannot be one of an interface.
    pub async fn link(&self, name: &str) -> Result<Option<Link>, Error> {
        let request = self.handle.link().get().match_name(name);
        let answer = request.execute().try_next().await;
        found(answer, || format!("looking for interface {name}"))
    }

    /// The interface with this index; `None` when there is none.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub async fn link_at(&self, index: u32) -> Result<Option<Link>, Error> {
        let request = self.handle.link().get().match_index(index);
        let answer = request.execute().try_next().await;
        found(answer, || format!("looking for interface {index}"))
    }
}

fn found(
    answer: Result<Option<LinkMessage>, rtnetlink::Error>,
    action: impl FnOnce() -> String,
) -> Result<Option<Link>, Error> {
    match answer {
        Ok(message) => Ok(message.map(Link::from)),
        Err(refused) => match error::cause(refused) {
            cause if error::is(&cause, Errno::ENODEV) => Ok(None),
            cause => Err(Error::new(action(), cause)),
        },
    }
}

impl From<LinkMessage> for Link {
    fn from(message: LinkMessage) -> Self {
        let header = message.header;
        let mut link = Self {
            index: header.index,
            name: String::new(),
            mac: None,
            mtu: 0,
            up: header.flags.contains(LinkFlags::Up),
            running: header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
            master: None,
            xdp: None,
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::Xdp(attached) => {
                    link.xdp = attached.iter().find_map(|attribute| match attribute {
                        LinkXdp::ProgId(id) => Some(*id),
                        _ => None,
                    });
                }
                LinkAttribute::Controller(index) => link.master = Some(index),
                LinkAttribute::Address(bytes) if header.link_layer_type == LinkLayerType::Ether => {
                    link.mac = <[u8; 6]>::try_from(bytes).ok().map(Mac);
                }
                _ => {}
            }
        }
        link
    }
}
