import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Runs the fixtures in a vitest of their own. */
export function runFixture(
  environment: Record<string, string>,
  args: readonly string[] = [],
): { status: number | null; output: string } {
  const manifest = createRequire(import.meta.url).resolve('vitest/package.json');
  const { bin } = JSON.parse(readFileSync(manifest, 'utf8')) as { bin: { vitest: string } };
  const root = fileURLToPath(new URL('fixtures', import.meta.url));
  const reporters = ['--reporter', 'verbose', '--reporter', '../../src/summary-reporter.ts'];
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(dirname(manifest), bin.vitest), 'run', ...reporters, ...args],
    { encoding: 'utf8', cwd: root, env: { ...process.env, NO_COLOR: '1', ...environment } },
  );
  return { status, output: stdout + stderr };
}
