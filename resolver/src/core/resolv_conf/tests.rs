use proptest::prelude::*;

use super::*;

fn ours() -> Ours {
    Ours { nameserver: "169.254.53.53".parse().unwrap(), search: Some("home.mesh".to_owned()) }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

const BEFORE: &str =
    "# mine\ndomain lan\nnameserver 10.0.0.1\noptions edns0\nnameserver fe80::1%eth0\n";

#[test]
fn it_is_read_as_the_library_does() {
    let read = ResolvConf::parse(
        b"search a b\nnameserver 10.0.0.1#x\nnameserver ::1\nnameserver 10.0.0.1\nsearch c. d\n\
          nameserver fe80::1%eth0\nnameserver\n; nameserver 1.1.1.1\noptions x\n",
    );
    let servers: Vec<String> = read.nameservers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["10.0.0.1:53", "[::1]:53"]);
    assert_eq!(read.search, ["c", "d"]);
}

#[test]
fn we_are_asked_and_nobody_else() {
    let taken = take_over(Some(BEFORE.as_bytes()), &ours());
    let read = ResolvConf::parse(&taken);
    assert_eq!(read.nameservers, ["169.254.53.53:53".parse().unwrap()]);
    assert_eq!(read.search, ["home.mesh", "lan"]);
    assert!(text(&taken).contains("\noptions edns0\n"));
    assert!(is_taken(&taken) && !is_taken(BEFORE.as_bytes()));
    assert_eq!(text(&give_back(&taken).unwrap()), BEFORE);
}

#[test]
fn a_file_that_was_not_there_goes_again() {
    let taken = take_over(None, &ours());
    assert_eq!(ResolvConf::parse(&taken).nameservers.len(), 1);
    assert_eq!(give_back(&taken), None);
    assert_eq!(take_over(Some(&taken), &ours()), taken);
    // Unless somebody made it theirs.
    let theirs = [taken, b"nameserver 9.9.9.9\n".to_vec()].concat();
    assert_eq!(text(&give_back(&theirs).unwrap()), "nameserver 9.9.9.9\n");
}

#[test]
fn what_is_written_between_our_lines_stays() {
    let taken = take_over(Some(BEFORE.as_bytes()), &ours());
    let edited = text(&taken)
        .replace("nameserver 169.254.53.53\n", "nameserver 169.254.53.53\nnameserver 9.9.9.9\n")
        .replace("\nsearch home.mesh lan\n", "\nsearch home.mesh lan more\n");
    let back = give_back(edited.as_bytes()).unwrap();
    let mine = "nameserver 9.9.9.9\nsearch home.mesh lan more\n";
    assert_eq!(text(&back).replace(mine, ""), BEFORE);
}

fn lines_of_a_file() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        "nameserver [0-9.]{1,15}",
        "search [a-z ]{0,20}",
        "domain [a-z]{1,5}",
        "options [a-z]{1,5}",
        "[#;]? ?[ -~]{0,20}",
        Just("nameserver 169.254.53.53".to_owned()),
        Just("search home.mesh".to_owned()),
    ];
    let ended = prop::sample::select(vec!["\n", "\r\n", "\n\n"]);
    let lines = prop::collection::vec((line, ended), 0..8);
    (lines, any::<bool>()).prop_map(|(lines, cut)| {
        let mut file: String = lines.into_iter().map(|(line, end)| line + end).collect();
        if cut {
            file = file.trim_end().to_owned();
        }
        file.into_bytes()
    })
}

proptest! {
    #[test]
    fn all_of_it_comes_back(file in prop_oneof![
        lines_of_a_file(),
        prop::collection::vec(any::<u8>(), 0..200),
    ]) {
        let taken = take_over(Some(&file), &ours());
        prop_assert!(is_taken(&taken));
        prop_assert_eq!(&ResolvConf::parse(&taken).nameservers, &["169.254.53.53:53".parse().unwrap()]);
        prop_assert_eq!(give_back(&taken), Some(file.clone()));
        prop_assert_eq!(take_over(Some(&taken), &ours()), taken);
        prop_assert_eq!(give_back(&file), Some(file));
    }

    #[test]
    fn nothing_that_is_added_is_lost(
        file in lines_of_a_file(),
        added in "nameserver 9\\.9\\.9\\.[0-9]{1,2}|options [a-z]{1,5}|# [a-z]{1,9}",
        place in any::<prop::sample::Index>(),
    ) {
        let taken = take_over(Some(&file), &ours());
        let mut lines: Vec<&[u8]> = taken.split(|byte| *byte == b'\n').collect();
        let place = place.index(lines.len());
        lines.insert(place, added.as_bytes());
        let back = give_back(&lines.join(&b'\n')).unwrap_or_default();
        let mut rest: Vec<&[u8]> = back.split(|byte| *byte == b'\n').collect();
        let found = rest.iter().position(|line| *line == added.as_bytes());
        prop_assert!(found.is_some());
        rest.remove(found.unwrap());
        prop_assert_eq!(rest.join(&b'\n'), file);
    }
}
