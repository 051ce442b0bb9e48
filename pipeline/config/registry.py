"""The registry of all parts that a config can name: one line each, ``name: "module:Class"``.

This is the only list of parts. The module of a part is imported when a config names it. No module imports this file:
`core.family` looks it up by name, so a new line changes no cache key; see docs/design.md.
"""

DATA = {
    "csv": "pipeline.data.sources.csv:Csv",
    "diabetes": "pipeline.data.sources.diabetes:Diabetes",
    "digits": "pipeline.data.sources.digits:Digits",
    "image_folder": "pipeline.data.sources.image_folder:ImageFolder",
    "npz": "pipeline.data.sources.npz:Npz",
}

TASKS = {
    "classification": "pipeline.data.tasks.classification:Classification",
    "regression": "pipeline.data.tasks.regression:Regression",
    "anomaly": "pipeline.data.tasks.anomaly:Anomaly",
}

SCORING = {  # the metrics of each task
    "classification": "pipeline.verify.scoring.classification:ClassificationScoring",
    "regression": "pipeline.verify.scoring.regression:RegressionScoring",
    "anomaly": "pipeline.verify.scoring.anomaly:AnomalyScoring",
}

MODELS = {
    "applications": "pipeline.keras.models.applications:Applications",
    "autoencoder": "pipeline.keras.models.autoencoder:Autoencoder",
    "ds_cnn": "pipeline.keras.models.ds_cnn:DsCnn",
    "file": "pipeline.keras.models.file:File",
    "mlp": "pipeline.keras.models.mlp:Mlp",
    "mobilenet_v1": "pipeline.keras.models.mobilenet_v1:MobilenetV1",
    "resnet8": "pipeline.keras.models.resnet8:Resnet8",
    "small_cnn": "pipeline.keras.models.small_cnn:SmallCnn",
    "transformer": "pipeline.keras.models.transformer:Transformer",
}

STAGES = {
    "train": "pipeline.stages.train:Train",
    "distill": "pipeline.stages.distill:Distill",
    "recalibrate": "pipeline.stages.recalibrate:Recalibrate",
    "equalize": "pipeline.stages.equalize:Equalize",
    "prune": "pipeline.stages.prune:Prune",
    "channel_prune": "pipeline.stages.channel_prune:ChannelPrune",
    "cluster": "pipeline.stages.cluster:Cluster",
    "qat": "pipeline.stages.qat:Qat",
    "sensitivity": "pipeline.stages.sensitivity:Sensitivity",
    "convert": "pipeline.stages.convert:Convert",
    "auto": "pipeline.stages.auto:Auto",
    "compress": "pipeline.stages.compress:Compress",
    "verify": "pipeline.stages.verify:Verify",
}

RUNTIMES = {
    "xnnpack": "pipeline.verify.runtimes.xnnpack:Xnnpack",
    "reference": "pipeline.verify.runtimes.reference:Reference",
    "tflm": "pipeline.verify.runtimes.tflm:Tflm",
}

FORMATS = {
    "c": "pipeline.export.c:C",
}

CHECKS = {
    "accuracy": "pipeline.verify.checks.accuracy:Accuracy",
    "agreement": "pipeline.verify.checks.agreement:Agreement",
    "arena": "pipeline.verify.checks.arena:Arena",
    "clusters": "pipeline.verify.checks.clusters:Clusters",
    "flips": "pipeline.verify.checks.flips:Flips",
    "int8_spec": "pipeline.verify.checks.int8_spec:Int8Spec",
    "integer_only": "pipeline.verify.checks.integer_only:IntegerOnly",
    "io": "pipeline.verify.checks.io:Io",
    "macs": "pipeline.verify.checks.macs:Macs",
    "metric": "pipeline.verify.checks.metric:Metric",
    "npu": "pipeline.verify.checks.npu:Npu",
    "op_versions": "pipeline.verify.checks.op_versions:OpVersions",
    "ops": "pipeline.verify.checks.ops:Ops",
    "size": "pipeline.verify.checks.size:Size",
    "sparsity": "pipeline.verify.checks.sparsity:Sparsity",
    "static_shapes": "pipeline.verify.checks.static_shapes:StaticShapes",
}
