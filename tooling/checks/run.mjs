// `pnpm check [name...]`: every check of the repository, the fast ones first. All run; any failure fails the whole.
import { fileURLToPath } from 'node:url';
import { staleResults } from '../results/pages.mjs';
import { run } from '../scripts/run.mjs';
import { staleShaders } from '../wgsl/inline.mjs';
import { cycleBreaches } from './cycles.mjs';
import { dependencyRuleBreaches } from './dependency-rule.mjs';
import { looseActions, staleFiles, withoutVersion } from './workspace.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));

/**
 * @param {string} command
 * @param {string[]} args
 * @param {string} advice
 */
const tool = (command, args, advice) => () => (run(command, args) === 0 ? [] : [advice]);

/** @type {(name: keyof typeof import('./packed.mjs')) => () => Promise<string[] | { note: string }>} */
const packed = (name) => async () => (await import('./packed.mjs'))[name]();

/** @type {[name: string, what: string, check: () => Outcome | Promise<Outcome>][]} */
const steps = [
  [
    'lint',
    'format and lint',
    tool('biome', ['check', '--error-on-warnings', '.'], 'run `pnpm format`, then mend what is left'),
  ],
  ['dependencies', 'who may import whom', () => dependencyRuleBreaches(root)],
  ['shaders', 'inlined shader text is what the .wgsl files say', () => staleShaders()],
  [
    'workspace',
    'manifests and project references',
    () => [
      ...staleFiles(root).map(({ problem }) => `${problem}; run \`pnpm sync\``),
      ...withoutVersion(root),
    ],
  ],
  [
    'results',
    'tables and charts of docs/',
    () => staleResults(root).map(({ file }) => `${file} is not what docs/results says; run \`pnpm results\``),
  ],
  ['actions', 'actions of the workflows are pinned', () => looseActions(root)],
  [
    'cycles',
    'circular imports of files and folders',
    () => [
      // In tests and tools too, and across packages.
      ...tool(
        'biome',
        ['lint', '--only=suspicious/noImportCycles', 'packages', 'apps', 'examples', 'tooling'],
        'break the import cycles above',
      )(),
      ...cycleBreaches(root),
    ],
  ],
  ['types', 'types of sources and tests', tool('tsc', ['-b'], 'mend the type errors above')],
  [
    'unused',
    'unused files, exports and dependencies',
    tool('knip', ['--no-progress'], 'remove what is unused, or say in knip.json why it stays'),
  ],
  ['contents', 'contents of the packed packages', packed('contents')],
  ['publint', 'publint on the packed packages', packed('publintEach')],
  ['types-node', 'packed types resolve in Node', packed('typesInNode')],
  ['types-bundler', 'packed types resolve with a bundler', packed('typesWithBundler')],
  ['imports', 'packed packages load silently in Node', packed('importsRun')],
  ['bundle', 'packed packages bundle for the browser', packed('bundlerBuilds')],
  ['tree-shaking', 'one small export comes alone', packed('treeShaking')],
  ['size', 'size of core', packed('size')],
];

/** @typedef {string[] | { note: string }} Outcome */

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !steps.some(([step]) => step === name));
if (unknown.length > 0) {
  console.error(
    `No check is called ${unknown.join(', ')}. There are: ${steps.map(([name]) => name).join(', ')}.`,
  );
  process.exit(2);
}

/** @type {string[]} */
const failed = [];
for (const [name, what, check] of steps) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  const start = performance.now();
  /** @type {Outcome} */
  let outcome;
  try {
    outcome = await check();
  } catch (error) {
    outcome = [error instanceof Error ? error.message : String(error)];
  }
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  const problems = Array.isArray(outcome) ? outcome : [];
  const note = Array.isArray(outcome) ? '' : `: ${outcome.note}`;
  for (const problem of problems) console.error(`  ${problem}`);
  console.log(`${problems.length === 0 ? 'ok    ' : 'FAILED'} ${name} (${what}) ${seconds} s${note}`);
  if (problems.length > 0) failed.push(name);
}
console.log(failed.length === 0 ? 'All checks passed.' : `${failed.length} failed: ${failed.join(', ')}`);
process.exitCode = failed.length === 0 ? 0 : 1;
