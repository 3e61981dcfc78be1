export { Command, type CommandUnknownOpts, InvalidArgumentError, Option } from '@commander-js/extra-typings';
export { ChildEngine, type CrashAdvice } from './node/child-engine.js';
export { type BackendOptions, backendCommand, backendSettings } from './node/cli/backend-command.js';
export { type Io, note, print } from './node/cli/io.js';
export {
  byteCount,
  layerCount,
  nonBlank,
  positiveNumber,
  seedNumber,
  wholeNumber,
} from './node/cli/option-values.js';
export { runCommandLine } from './node/cli/run-command-line.js';
export { runMain } from './node/cli/run-main.js';
export { Journal, type JournalFormat, type JournalHeader } from './node/journal.js';
export type { OutputStream } from './node/output-stream.js';
export { packageVersion } from './node/package-version.js';
export { peakBytes } from './node/peak-memory.js';
export { ProgressBar } from './node/progress-bar.js';
export { serveParent } from './node/serve-parent.js';
export { shownPath } from './node/shown-path.js';
export { requireWritable, writeFileAtomically } from './node/write-file.js';
