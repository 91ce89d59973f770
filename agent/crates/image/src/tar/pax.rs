//! PAX extended headers (POSIX.1-2017, pax, "pax Extended Header"): the records that mean something to us.

use super::TarError;
use super::sparse::Extent;
use edgelet_types::limits;
use std::collections::BTreeMap;
use std::ffi::CString;

/// What the records of one header say. Keys that are not here have no effect on what is unpacked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<(i64, u32)>,
    /// `SCHILY.xattr.*`: how every tool of ours stores extended attributes.
    pub(super) xattrs: BTreeMap<CString, Vec<u8>>,
    /// `GNU.sparse.*`, formats 0.0, 0.1 and 1.0.
    pub(super) sparse_version: Option<(u64, u64)>,
    pub(super) sparse_name: Option<Vec<u8>>,
    pub(super) sparse_size: Option<u64>,
    pub(super) sparse_map: Vec<Extent>,
    pub(super) sparse_count: Option<u64>,
    /// Format 0.0: an offset waits for its length.
    sparse_offset: Option<u64>,
}

impl Records {
    /// Lays `newer` over these.
    pub(super) fn merge(&mut self, newer: Records) {
        fn over<T>(old: &mut Option<T>, new: Option<T>) {
            if new.is_some() {
                *old = new;
            }
        }
        over(&mut self.path, newer.path);
        over(&mut self.link, newer.link);
        over(&mut self.size, newer.size);
        over(&mut self.uid, newer.uid);
        over(&mut self.gid, newer.gid);
        over(&mut self.mtime, newer.mtime);
        self.xattrs.extend(newer.xattrs);
        over(&mut self.sparse_version, newer.sparse_version);
        over(&mut self.sparse_name, newer.sparse_name);
        over(&mut self.sparse_size, newer.sparse_size);
        over(&mut self.sparse_count, newer.sparse_count);
        if !newer.sparse_map.is_empty() {
            self.sparse_map = newer.sparse_map;
        }
    }

    /// Global headers add up over a whole archive; what they keep is limited like one header.
    pub(super) fn check_size(&self) -> Result<(), TarError> {
        let xattrs: usize = self.xattrs.iter().map(|(name, value)| name.as_bytes().len() + value.len()).sum();
        let limit = limits::LAYER_HEADER_BYTES;
        match xattrs as u64 > limit {
            true => Err(TarError::TooMuch { what: "bytes of global headers", limit }),
            false => Ok(()),
        }
    }
}

/// Parses `length key=value\n` records.
pub(super) fn parse(mut data: &[u8]) -> Result<Records, TarError> {
    let mut records = Records::default();
    // Some writers fill up with zeros.
    while data.first().is_some_and(|byte| *byte != 0) {
        let (record, rest) = split_record(data).ok_or_else(|| malformed("a record's length is wrong"))?;
        let equals = record.iter().position(|byte| *byte == b'=');
        let equals = equals.ok_or_else(|| malformed("a record without ="))?;
        apply(&mut records, &record[..equals], &record[equals + 1..])?;
        data = rest;
    }
    match records.sparse_offset {
        Some(_) => Err(malformed("a sparse offset without length")),
        None => Ok(records),
    }
}

/// Splits off one record; the length counts itself, the blank and the line end.
fn split_record(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let blank = data.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(number(&data[..blank])?).ok()?;
    let record = data.get(blank + 1..length)?;
    Some((record.strip_suffix(b"\n")?, &data[length..]))
}

fn apply(records: &mut Records, key: &[u8], value: &[u8]) -> Result<(), TarError> {
    let bad = || malformed(&format!("{} = {:?}", String::from_utf8_lossy(key), short(value)));
    let integer = || number(value).ok_or_else(bad);
    // An empty value takes the record back (POSIX), so that the header's own field counts.
    let text = || (!value.is_empty()).then(|| value.to_vec());
    match key {
        b"path" => records.path = text(),
        b"linkpath" => records.link = text(),
        b"size" => records.size = Some(integer()?),
        b"uid" => records.uid = Some(integer()?),
        b"gid" => records.gid = Some(integer()?),
        b"mtime" => records.mtime = Some(time(value).ok_or_else(bad)?),
        b"GNU.sparse.major" => records.sparse_version.get_or_insert_default().0 = integer()?,
        b"GNU.sparse.minor" => records.sparse_version.get_or_insert_default().1 = integer()?,
        b"GNU.sparse.name" => records.sparse_name = text(),
        b"GNU.sparse.realsize" | b"GNU.sparse.size" => records.sparse_size = Some(integer()?),
        b"GNU.sparse.numblocks" => records.sparse_count = Some(integer()?),
        b"GNU.sparse.offset" => records.sparse_offset = Some(integer()?),
        b"GNU.sparse.numbytes" => {
            let offset = records.sparse_offset.take().ok_or_else(bad)?;
            records.sparse_map.push(Extent { offset, length: integer()? });
        }
        b"GNU.sparse.map" => records.sparse_map = map(value).ok_or_else(bad)?,
        _ => {
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                let name = CString::new(name).map_err(|_| bad())?;
                records.xattrs.insert(name, value.to_vec());
            }
        }
    }
    Ok(())
}

/// Format 0.1: `offset,length,offset,length,…`.
fn map(value: &[u8]) -> Option<Vec<Extent>> {
    let numbers: Option<Vec<u64>> = value.split(|byte| *byte == b',').map(number).collect();
    let numbers = numbers?;
    let pairs = numbers.chunks_exact(2);
    match pairs.remainder() {
        [] => Some(pairs.map(|pair| Extent { offset: pair[0], length: pair[1] }).collect()),
        _ => None,
    }
}

/// Digits and nothing else.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    match text.iter().all(u8::is_ascii_digit) {
        true => std::str::from_utf8(text).ok()?.parse().ok(),
        false => None,
    }
}

/// Decimal seconds with an optional fraction, also before 1970. Digits beyond nanoseconds are dropped.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let whole = i64::try_from(number(parts.next()?).filter(|_| !text.is_empty())?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    let mut nanos = 0;
    for place in 0..9 {
        let digit = fraction.get(place).copied().unwrap_or(b'0');
        nanos = nanos * 10 + char::from(digit).to_digit(10)?;
    }
    Some(match (negative, nanos) {
        (false, nanos) => (whole, nanos),
        (true, 0) => (-whole, 0),
        (true, nanos) => (-whole - 1, 1_000_000_000 - nanos),
    })
}

fn short(value: &[u8]) -> String {
    String::from_utf8_lossy(&value[..value.len().min(80)]).into_owned()
}

fn malformed(text: &str) -> TarError {
    TarError::Malformed(format!("extended header: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_fractions_and_signs() {
        let cases: [(&str, Option<(i64, u32)>); 9] = [
            ("0", Some((0, 0))),
            ("1350244992.023960108", Some((1_350_244_992, 23_960_108))),
            ("1.0000000019", Some((1, 1))),
            ("-1", Some((-1, 0))),
            ("-0.5", Some((-1, 500_000_000))),
            ("", None),
            ("1.x", None),
            ("1.-5", None),
            ("99999999999999999999", None),
        ];
        for (text, want) in cases {
            assert_eq!(time(text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn records_parse_and_damaged_ones_do_not() {
        let records = parse(b"13 path=a\nbc\n27 SCHILY.xattr.user.x=\x00\xffz\n6 x=y\n").expect("valid");
        assert_eq!(records.path.as_deref(), Some(&b"a\nbc"[..]));
        assert_eq!(records.xattrs[c"user.x"], b"\x00\xffz");
        for bad in ["5 a=b\n", "99 a=b\n", "6 a=bc", "x a=b\n", "7 nope\n", "11 size=-1\n", " 6 a=b\n"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
