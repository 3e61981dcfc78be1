// `pnpm bench <name> ...`: builds what changed, then runs the benchmark command line.
import { join } from 'node:path';
import { build, root, run } from './run.mjs';

build();
const cli = join(root, 'packages', 'backend-onnxruntime', 'dist', 'bench', 'cli.js');
process.exit(run(process.execPath, [cli, ...process.argv.slice(2)]));
