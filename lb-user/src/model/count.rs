//! Numbers of things, for people.

/// `1 backend`, `2 backends`, `3 processes`.
#[must_use]
pub fn count(number: impl TryInto<u64>, what: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    let ending = match number {
        1 => "",
        _ if what.ends_with(['s', 'x']) => "es",
        _ => "s",
    };
    format!("{number} {what}{ending}")
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn things_are_counted() {
        let counted = [
            count(0_usize, "backend"),
            count(1_u64, "packet"),
            count(2_u32, "process"),
            count(3_u32, "prefix"),
        ];
        assert_eq!(counted, ["0 backends", "1 packet", "2 processes", "3 prefixes"]);
    }
}
