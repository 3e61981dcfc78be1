// `pnpm release`: publishes every public package whose version npm does not have yet, as `pnpm tarballs` packs it, and tags
// the versions. The release workflow runs it once the pull request with the new versions is merged; NPM_CONFIG_PROVENANCE
// makes npm sign where a tarball comes from.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packAll } from './pack.mjs';
import { buildOrExit, npmCommand, root, run } from './run.mjs';

/** @param {string} name @param {string} version */
function isPublished(name, version) {
  const [command, args] = npmCommand('npm', ['view', `${name}@${version}`, 'version']);
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: root, encoding: 'utf8' });
  if (status === 0) return stdout.trim() === version;
  if (/E404/.test(stderr)) return false;
  throw new Error(`npm view ${name}@${version} failed\n${stderr}`);
}

buildOrExit();
const work = mkdtempSync(join(tmpdir(), 'topk-release-'));
try {
  for (const { name, content, tarball } of packAll(join(work, 'tarballs'), work)) {
    const { version } = JSON.parse(readFileSync(join(content, 'package.json'), 'utf8'));
    if (isPublished(name, version)) {
      console.log(`${name}@${version} is on npm already`);
      continue;
    }
    const [command, args] = npmCommand('npm', ['publish', tarball, '--access', 'public']);
    if (run(command, args) !== 0) throw new Error(`${name}@${version} was not published`);
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}
// Prints the tags it makes, from which the workflow writes the releases.
process.exit(run('changeset', ['tag']));
