import { spawnSync } from 'node:child_process';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository's root folder. */
export const root = fileURLToPath(new URL('../..', import.meta.url));

const quietTools = {
  DO_NOT_TRACK: '1',
  TURBO_TELEMETRY_DISABLED: '1',
  TURBO_NO_UPDATE_NOTIFIER: '1',
  ORT_DISABLE_TELEMETRY: '1',
};

/**
 * Runs a command of the workspace (node_modules/.bin first) and returns its exit status. Needs no pnpm on the path.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: Record<string, string>, stdio?: import('node:child_process').StdioOptions }} [options]
 * @returns {number}
 */
export function run(command, args, { cwd = root, env = {}, stdio = 'inherit' } = {}) {
  const bin = join(root, 'node_modules', '.bin');
  const result = spawnSync(command, args, {
    cwd,
    stdio,
    env: {
      ...process.env,
      ...quietTools,
      ...env,
      PATH: [bin, process.env.PATH].join(delimiter),
    },
    shell: process.platform === 'win32',
  });
  if (result.error) throw result.error;
  // A child ended by a signal has no status; 1 keeps that a failure.
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
