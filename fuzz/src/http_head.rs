//! Heads of HTTP/1.1: the same verdict whatever the pieces, and what is taken reads the same for httparse and for hyper.
//!
//! An input is what a client sends, and then what a backend sends: a head, and behind it whatever there is.

use lb_user::proxy::http1::{Fields, Framing, HeadError, RequestHead, ResponseHead};

use crate::http::{BOUNDS, body, compare_with_hyper, cuts};

/// Panics when a head is not read as it should.
pub fn check(data: &[u8]) {
    request(data);
    response(data);
}

/// Reads as the bytes come: what there is to say, in the end.
fn read<T>(
    data: &[u8],
    ends: &[usize],
    mut read: impl FnMut(&[u8]) -> Result<Option<T>, HeadError>,
) -> Result<Option<T>, HeadError> {
    for &end in ends.iter().chain([&data.len()]) {
        if let Some(done) = read(&data[..end])? {
            return Ok(Some(done));
        }
    }
    Ok(None)
}

fn request(data: &[u8]) {
    let in_pieces = |ends: &[usize]| {
        let mut head = RequestHead::default();
        let verdict = read(data, ends, |bytes| {
            let done = head.read(bytes, &BOUNDS)?;
            Ok(done.then(|| (head.length, head.framing, head.path, head.host, head.fields.all().len())))
        });
        (verdict, head)
    };
    let (whole, head) = in_pieces(&[]);
    assert_eq!(in_pieces(&cuts(data)).0, whole);
    assert_eq!(in_pieces(&(0..data.len()).collect::<Vec<_>>()).0, whole);
    match whole {
        Err(error) => assert!(matches!(error.status(), 400..=599)),
        Ok(None) => assert!(data.len() < BOUNDS.bytes),
        Ok(Some((length, framing, ..))) => {
            assert!(length <= data.len() && length <= BOUNDS.bytes);
            let bytes = &data[..length];
            let mut theirs = [httparse::EMPTY_HEADER; BOUNDS.fields];
            let mut other = httparse::Request::new(&mut theirs);
            assert_eq!(other.parse(bytes), Ok(httparse::Status::Complete(length)));
            assert_eq!(other.method.map(str::as_bytes), Some(head.method.of(bytes)));
            assert_eq!(other.path.map(str::as_bytes), Some(head.target.of(bytes)));
            assert_eq!(other.version, Some(u8::from(head.is_1_1)));
            same_fields(other.headers, &head.fields, bytes);
            assert_ne!(framing, Framing::Close);
            if let Some((end, content)) = body(framing, &data[length..]) {
                compare_with_hyper(&data[..length + end], &head, &content);
            }
        }
    }
}

fn response(data: &[u8]) {
    for to_head in [false, true] {
        let in_pieces = |ends: &[usize]| {
            let mut head = ResponseHead::default();
            let verdict = read(data, ends, |bytes| {
                let done = head.read(bytes, &BOUNDS, to_head)?;
                Ok(done.then(|| (head.length, head.framing, head.status, head.fields.all().len())))
            });
            (verdict, head)
        };
        let (whole, head) = in_pieces(&[]);
        assert_eq!(in_pieces(&cuts(data)).0, whole);
        assert_eq!(in_pieces(&(0..data.len()).collect::<Vec<_>>()).0, whole);
        if let Ok(Some((length, framing, status, _))) = whole {
            let bytes = &data[..length];
            let mut theirs = [httparse::EMPTY_HEADER; BOUNDS.fields];
            let mut other = httparse::Response::new(&mut theirs);
            assert_eq!(other.parse(bytes), Ok(httparse::Status::Complete(length)));
            assert_eq!((other.code, other.version), (Some(status), Some(u8::from(head.is_1_1))));
            same_fields(other.headers, &head.fields, bytes);
            let without = to_head || status < 200 || matches!(status, 204 | 304);
            assert!(!without || framing == Framing::None);
        }
    }
}

fn same_fields(theirs: &[httparse::Header<'_>], own: &Fields, head: &[u8]) {
    let theirs: Vec<_> = theirs
        .iter()
        .map(|field| (field.name.as_bytes(), field.value))
        .collect();
    let own: Vec<_> = own
        .all()
        .iter()
        .map(|field| (field.name.of(head), field.value.of(head)))
        .collect();
    assert_eq!(theirs, own);
}
