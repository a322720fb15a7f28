//! Property files: what they mean, and what is said about wrong ones.

use std::path::Path;

use kvdyno_workloads::{
    DataSpec, Error, KeyOrder, LengthDistribution, OperationKind, RequestDistribution, ValueSpec,
    Workload, WorkloadSpec, YcsbSpec,
};

use crate::support::{apply, load};

fn read(text: &str) -> Result<(WorkloadSpec, Vec<String>), Error> {
    WorkloadSpec::from_properties("mine", Path::new("dir/mine"), text)
}

fn spec(text: &str) -> WorkloadSpec {
    let (spec, warnings) = read(text).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    spec
}

fn ycsb(spec: &WorkloadSpec) -> &YcsbSpec {
    match &spec.data {
        DataSpec::Ycsb(ycsb) => ycsb,
        DataSpec::TimeSeries(_) => panic!("a property file gives YCSB records"),
    }
}

#[test]
fn absent_properties_have_the_defaults_of_ycsb() {
    let spec = spec("recordcount=500\noperationcount=700\n");
    assert_eq!((spec.records, spec.operations, spec.streams), (500, 700, 64));
    assert_eq!(spec.mix, [(OperationKind::Read, 0.95), (OperationKind::Update, 0.05)]);
    assert_eq!(spec.request_distribution, RequestDistribution::Uniform);
    assert_eq!(spec.scan_length, LengthDistribution::Uniform { min: 1, max: 1000 });
    let ycsb = ycsb(&spec);
    let length = LengthDistribution::Constant { value: 100 };
    assert_eq!(ycsb.value, ValueSpec::Fields { count: 10, length });
    assert_eq!((ycsb.key.order, ycsb.key.zero_padding), (KeyOrder::Hashed, 1));
    assert!(!ycsb.write_all_fields);
    assert_eq!(spec.value_bytes(), 1000);
}

#[test]
fn every_property_is_understood() {
    let spec = spec(
        "workload = com.yahoo.ycsb.workloads.CoreWorkload\r
         recordcount : 1000\r
         operationcount 50\r
         insertstart=100\r\ninsertcount=600\r
         fieldcount=3\nfieldlength=40\nminfieldlength=8\nfieldlengthdistribution=zipfian
         writeallfields=true\nreadallfields=true\ndataintegrity=true
         readproportion=1\nupdateproportion=0\nscanproportion=2\ninsertproportion=1
         requestdistribution=hotspot\nhotspotdatafraction=0.1\nhotspotopnfraction=0.9
         minscanlength=5\nmaxscanlength=9\nscanlengthdistribution=zipfian
         insertorder=ordered\nzeropadding=12\n",
    );
    let ycsb = ycsb(&spec);
    assert_eq!(spec.records, 600);
    assert_eq!((ycsb.key.insert_start, ycsb.key.insert_skip), (100, 300));
    assert_eq!((ycsb.key.order, ycsb.key.zero_padding), (KeyOrder::Ordered, 12));
    let length = LengthDistribution::Zipfian { min: 8, max: 40 };
    assert_eq!(ycsb.value, ValueSpec::Fields { count: 3, length });
    assert!(ycsb.write_all_fields);
    let hotspot = RequestDistribution::Hotspot { data_fraction: 0.1, operation_fraction: 0.9 };
    assert_eq!(spec.request_distribution, hotspot);
    assert_eq!(spec.scan_length, LengthDistribution::Zipfian { min: 5, max: 9 });
    let shares =
        [(OperationKind::Read, 0.25), (OperationKind::Insert, 0.25), (OperationKind::Scan, 0.5)];
    assert_eq!(spec.normalised_mix(), shares);

    let description =
        "25 % read, 25 % insert, 50 % scan; hotspot requests; from a YCSB property file.";
    assert_eq!(spec.description, description);

    let workload = Workload::new(spec, 1).unwrap();
    let mut key = Vec::new();
    workload.key_of(0, &mut key);
    assert_eq!(key, b"user000000000100");
    workload.key_of(600, &mut key);
    assert_eq!(key, b"user000000001000");
}

#[test]
fn reads_of_absent_keys_and_scans_backward_are_weights_beside_those_of_ycsb() {
    let spec = spec(
        "recordcount=100\noperationcount=100\nreadproportion=0.5\nupdateproportion=0\n\
         readabsentproportion=1\nscanreverseproportion=0.5\n",
    );
    let shares = [
        (OperationKind::Read, 0.25),
        (OperationKind::ScanReverse, 0.25),
        (OperationKind::ReadAbsent, 0.5),
    ];
    assert_eq!(spec.normalised_mix(), shares);
    let found = "25 % read, 25 % scan_reverse, 50 % read_absent; uniform requests; from a YCSB property file.";
    assert_eq!(spec.description, found);
    let text = "recordcount=9\nreadabsentproportion=-1";
    let error = read(text).unwrap_err().to_string();
    assert!(error.contains("dir/mine:2: readabsentproportion: expected 0 or more"), "{error}");
}

#[test]
fn all_six_mixes_run() {
    let files = [
        ("a", "readproportion=0.5\nupdateproportion=0.5\nrequestdistribution=zipfian"),
        ("b", "readproportion=0.95\nupdateproportion=0.05\nrequestdistribution=zipfian"),
        ("c", "readproportion=1\nupdateproportion=0\nrequestdistribution=zipfian"),
        (
            "d",
            "readproportion=0.95\nupdateproportion=0\ninsertproportion=0.05\r
             requestdistribution=latest",
        ),
        (
            "e",
            "readproportion=0\nupdateproportion=0\nscanproportion=0.95\ninsertproportion=0.05
             maxscanlength=100\nrequestdistribution=zipfian",
        ),
        (
            "f",
            "readproportion=0.5\nupdateproportion=0\nreadmodifywriteproportion=0.5
             requestdistribution=zipfian",
        ),
    ];
    for (name, text) in files {
        let spec = spec(&format!("recordcount=1000\noperationcount=1000\n{text}\n"));
        let workload = Workload::new(spec, 9).unwrap();
        let mut store = load(&workload);
        assert_eq!(store.len(), 1000, "{name}");
        let mut streams: Vec<_> = (0..64).map(|index| workload.stream(index)).collect();
        for _ in 0..50 {
            for stream in &mut streams {
                apply(&mut store, &workload, stream.next());
            }
        }
        for (key, value) in &store {
            workload.check_value(key, value).unwrap();
        }
    }
}

#[test]
fn file_gives_the_name_and_may_be_latin_1() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.properties");
    std::fs::write(&path, b"# caf\xE9\nrecordcount=10\noperationcount=10\n").unwrap();
    let (spec, warnings) = WorkloadSpec::from_property_file(&path).unwrap();
    assert_eq!(spec.name, "orders");
    assert!(warnings.is_empty());

    let error = WorkloadSpec::from_property_file(&folder.path().join("none")).unwrap_err();
    assert!(error.to_string().contains("none: cannot read"), "{error}");
}

#[test]
fn what_has_no_effect_is_said_with_file_and_line() {
    let text = "recordcount=10\nreadpropotion=1\nthreadcount=8\ntarget=0\nmytable=x\nrecordcount=20
        readallfields=false\n";
    let (spec, warnings) = read(text).unwrap();
    assert_eq!(spec.records, 20);
    let expected = [
        "dir/mine:2: readpropotion is unknown and has no effect: was readproportion meant?",
        "dir/mine:3: threadcount has no effect: give the number of threads on the command line",
        "dir/mine:5: mytable is unknown and has no effect",
        "dir/mine:6: recordcount stands in line 1 already",
        "dir/mine:7: readallfields has no effect",
        "dir/mine: operationcount is missing: taken to be the number of records, 20",
    ];
    assert_eq!(warnings.len(), expected.len(), "{warnings:#?}");
    for (warning, expected) in warnings.iter().zip(expected) {
        assert!(warning.starts_with(expected), "{warning} is not {expected}");
    }
}

#[test]
fn wrong_properties_are_refused_in_one_line_that_names_them() {
    for (text, expected) in [
        ("", "dir/mine: recordcount is missing"),
        ("recordcount=0", "dir/mine:1: recordcount: expected a whole number from 1"),
        ("recordcount=-5", "dir/mine:1: recordcount: expected a whole number from 1"),
        ("recordcount=1e6", "found \"1e6\""),
        ("recordcount=99999999999999999999", "found \"99999999999999999999\""),
        ("recordcount=", "found \"\""),
        ("# x\nrecordcount\n", "dir/mine:2: expected key=value"),
        ("recordcount=9\nfieldcount=0", "dir/mine:2: fieldcount: expected"),
        ("recordcount=9\nfieldlength=9999999999", "dir/mine:2: fieldlength: expected"),
        ("recordcount=9\nfieldcount=65536\nfieldlength=1073741824", "fieldlength: expected"),
        ("recordcount=9\noperationcount=x", "dir/mine:2: operationcount: expected"),
        ("recordcount=9\ninsertstart=9", "dir/mine:2: insertstart: expected"),
        ("recordcount=9\ninsertstart=3\ninsertcount=7", "dir/mine:3: insertcount: expected"),
        ("recordcount=9\nreadproportion=-1", "readproportion: expected 0 or more, found \"-1\""),
        ("recordcount=9\nreadproportion=NaN", "readproportion: expected 0 or more"),
        ("recordcount=9\nreadproportion=0\nupdateproportion=0", "dir/mine:2: readproportion: all"),
        ("recordcount=9\nrequestdistribution=zipfain", "expected one of uniform, zipfian, latest"),
        ("recordcount=9\ninsertorder=random", "insertorder: expected one of hashed, ordered"),
        ("recordcount=9\nzeropadding=-1", "zeropadding: expected a whole number from 0"),
        ("recordcount=9\nwriteallfields=yes", "writeallfields: expected true or false"),
        ("recordcount=9\nhotspotdatafraction=2", "hotspotdatafraction: expected 0 to 1"),
        ("recordcount=9\nexponential.percentile=100", "exponential.percentile: expected more"),
        ("recordcount=9\nexponential.frac=0", "exponential.frac: expected more than 0"),
        ("recordcount=9\nmaxscanlength=0", "maxscanlength: expected a whole number from 1"),
        (
            "recordcount=9\nminscanlength=7\nmaxscanlength=5",
            "dir/mine:2: minscanlength: 7 is above",
        ),
        ("recordcount=9\nminscanlength=0", "minscanlength: expected a whole number from 1"),
        ("recordcount=9\nscanlengthdistribution=normal", "expected one of uniform, zipfian"),
        (
            "recordcount=9\nminfieldlength=200\nfieldlengthdistribution=uniform",
            "dir/mine:2: minfieldlength: 200 is above",
        ),
        (
            "recordcount=9\nfieldlengthdistribution=histogram",
            "dir/mine:2: fieldlengthdistribution: histogram is not supported: use constant",
        ),
        (
            "workload=site.ycsb.workloads.TimeSeriesWorkload",
            "dir/mine:1: workload: site.ycsb.workloads.TimeSeriesWorkload is not supported: use",
        ),
        ("workload=my.Own", "dir/mine:1: workload: my.Own is not supported: expected site.ycsb"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
        assert!(error.starts_with("dir/mine:") && !error.contains('\n'), "{text:?}: {error}");
    }
}
