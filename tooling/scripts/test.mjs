// `pnpm test`: builds every package, then runs every test of the workspace in one vitest run with one summary.
// `pnpm test:fast` (`--fast`): what takes two and a half minutes of CPU, needs neither browser nor GPU and runs on every system.
import { build, run } from './run.mjs';

const fastProjects = ['core', 'nn', 'models', 'conformance', 'onnxruntime', 'app-kit', 'docs', 'checks'];
const slowFiles = ['browser*.test.ts', 'planned-bytes.test.ts'];
const fastOnly = [
  ...fastProjects.flatMap((name) => ['--project', name]),
  ...slowFiles.flatMap((name) => ['--exclude', `**/${name}`]),
];

const [first, ...rest] = process.argv.slice(2);
const args = first === '--fast' ? [...fastOnly, ...rest] : process.argv.slice(2);

// Tests run from source, so they can tell something even where the types are wrong; only a few need what is built.
const built = build();
const passed = run('vitest', ['run', ...args]) === 0;
if (!built) console.error('The tests ran, but the build failed; see the first errors above.');
process.exit(built && passed ? 0 : 1);
