import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository's root folder. */
export const root = fileURLToPath(new URL('../..', import.meta.url));

const quietTools = {
  DO_NOT_TRACK: '1',
  ORT_DISABLE_TELEMETRY: '1',
};

/** Tools of the workspace and the packages they come in. @type {Record<string, string>} */
const tools = {
  biome: '@biomejs/biome',
  changeset: '@changesets/cli',
  knip: 'knip',
  tsc: 'typescript',
  vitest: 'vitest',
};

/**
 * Command line of a tool: its JavaScript under this Node. The files in node_modules/.bin are batch files on Windows,
 * which start only through a shell, and a shell splits arguments with blanks and quotes.
 *
 * @param {string} name
 * @param {readonly string[]} args
 * @returns {[command: string, args: string[]]}
 */
export function toolCommand(name, args) {
  const folder = join(root, 'node_modules', tools[name] ?? name);
  const { bin } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  return [process.execPath, [join(folder, bin[name]), ...args]];
}

/**
 * Command line of `npm` or `npx`, which on Windows are JavaScript beside node.exe.
 *
 * @param {'npm' | 'npx'} name
 * @param {readonly string[]} args
 * @returns {[command: string, args: string[]]}
 */
export function npmCommand(name, args) {
  if (process.platform !== 'win32') return [name, [...args]];
  const script = join(dirname(process.execPath), 'node_modules', 'npm', 'bin', `${name}-cli.js`);
  return [process.execPath, [script, ...args]];
}

/**
 * Runs a tool of the workspace, or a program, and returns its exit status. Needs no pnpm on the path.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: Record<string, string>, stdio?: import('node:child_process').StdioOptions }} [options]
 * @returns {number}
 */
export function run(command, args, { cwd = root, env = {}, stdio = 'inherit' } = {}) {
  const [program, words] = Object.hasOwn(tools, command) ? toolCommand(command, args) : [command, args];
  const result = spawnSync(program, words, { cwd, stdio, env: { ...process.env, ...quietTools, ...env } });
  if (result.error) throw result.error;
  // A child ended by a signal has no status; 1 marks it as a failure.
  return result.status ?? 1;
}

/** Standard output of the tool goes to standard error, so that what the caller prints stays pure. */
export const onStderr = /** @type {const} */ (['inherit', 2, 2]);

/**
 * Builds every package that changed. Quiet unless something is wrong.
 *
 * @returns {boolean} whether it worked
 */
export function build() {
  return run('tsc', ['-b', 'tsconfig.build.json'], { stdio: [...onStderr] }) === 0;
}

/** {@link build} for a script that cannot go on without it. */
export function buildOrExit() {
  if (build()) return;
  console.error('The build failed; see the errors above.');
  process.exit(1);
}
