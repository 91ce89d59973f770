//! Extended attributes, on descriptors of any kind including `O_PATH` ones.

use crate::place::proc_path;
use nix::errno::Errno;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::BorrowedFd;

/// Sets one attribute of the object behind `fd`, replacing an older value. `EOPNOTSUPP` where the file
/// system has no such attributes.
pub fn set(fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> io::Result<()> {
    let path = path(fd);
    // SAFETY: path and name are C strings and value is a slice; all outlive the call.
    let result =
        unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(result)?;
    Ok(())
}

/// The value of one attribute of the object behind `fd`; `None` when it has none of that name.
pub fn get(fd: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<Vec<u8>>> {
    let path = path(fd);
    let mut value = vec![0; VALUE_BYTES];
    // SAFETY: path and name are C strings, and the kernel writes at most `value.len()` bytes to `value`.
    let result =
        unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    match Errno::result(result) {
        Ok(length) => {
            value.truncate(usize::try_from(length).unwrap_or_default());
            Ok(Some(value))
        }
        Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The largest value that Linux keeps (`XATTR_SIZE_MAX`).
const VALUE_BYTES: usize = 64 << 10;

/// `fsetxattr` refuses `O_PATH` descriptors, and those are the only ones a symbolic link or a device can
/// have without side effects. The magic link leads to exactly the object, whatever its kind.
fn path(fd: BorrowedFd<'_>) -> CString {
    CString::new(proc_path(fd)).expect("digits and slashes have no zero byte")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::RootDir;
    use std::os::fd::AsFd;

    #[test]
    fn an_attribute_of_a_link_is_the_links_own() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let root = RootDir::open(dir.path()).expect("open");
        root.place("file").and_then(|place| place.create(0o600)).expect("file");
        let link = root.place("link").expect("place");
        link.symlink("file").expect("link");
        link.set_xattr(c"trusted.edgelet", b"\0value").expect("set");
        let value = |path: &str| {
            let fd = root.open_path(path).expect("open");
            get(fd.as_fd(), c"trusted.edgelet").expect("get")
        };
        assert_eq!(value("link").as_deref(), Some(&b"\0value"[..]));
        assert_eq!(value("file"), None);
    }
}
