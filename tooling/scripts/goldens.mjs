// `pnpm goldens`: regenerates the golden values with Python and numpy/torch (a development tool, not needed for
// tests).
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { root, run } from './run.mjs';

const script = join(root, 'tooling', 'goldens', 'generate.py');
if (!existsSync(script)) {
  console.error('tooling/goldens/generate.py is missing.');
  process.exit(1);
}
process.exit(run(process.env.PYTHON ?? 'python3', [script, ...process.argv.slice(2)]));
