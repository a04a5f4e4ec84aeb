"""The training loop on Lightning Fabric: settings, losses, metrics, averaging, checkpoints, logs and the report.

| file | idea |
|---|---|
| settings | what a user may write in the YAML file, checked strictly |
| losses | masked, weighted sums of errors, and their counts |
| schedules | the learning rate as a function of steps, epochs or elapsed time |
| averaging | the exponential moving average of the weights |
| metrics | MAE and RMSE, overall, per element and per configuration type |
| checkpoints | atomic files, the lock on a run's folder |
| logs | CSV, TensorBoard, the progress bar |
| task | what is learned: energies, responses to a field, tensors; one file each |
| loop | `fit`: the epochs |
| prediction | a model on many frames: predictions and tables |
| figures, report | one self-contained HTML page |

Models come in as callables ``model(graph) -> energies``; nothing here knows an architecture.
"""
