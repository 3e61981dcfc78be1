#!/usr/bin/env node
// Builds TensorFlow.js for Node (tfjs-node) for this repository's own tests, where its prebuilt binding is not
// available. See README.md beside this file; `--help` tells how to call it.
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { compileBinding, findCompiler } from './compile.mjs';
import { BuildFailure } from './failure.mjs';
import {
  buildFolder,
  isBuilt,
  nodeApiHeadersVersion,
  tfjsNodeVersion,
  unsupportedPlatform,
  wheel,
} from './versions.mjs';
import { getWheel } from './wheel.mjs';
import { unzip } from './zip.mjs';

const help = `node tooling/tfjs-node/build.mjs [--force] [--wheel FILE] [--check]

Builds @tensorflow/tfjs-node ${tfjsNodeVersion} against the C library of TensorFlow ${wheel.version} (CPU), for the tests of this
repository. Needs linux x64, npm, a C++ compiler and 1.5 GB of disk; downloads some 300 MB. Run again after a failure,
it goes on where it stopped; once built, it does nothing.

  --force       build anew
  --wheel FILE  take TensorFlow from this wheel, unchecked, instead of a download
  --check       only say whether it is built (exit status 0) or not (1)
  --help        this text

Ends up in ${buildFolder}
Respects pip's configuration (PIP_INDEX_URL, pip.conf), npm's, and CXX.`;

/** Of the 1.1 GB that stay, 850 MB are TensorFlow; the wheel is there for a while too. */
const NEEDED_BYTES = 1.5e9;
const partial = `${buildFolder}.partial`;
const lock = `${buildFolder}.lock`;

const start = performance.now();
/** @param {string} line */
function log(line) {
  console.log(`tfjs-node ${((performance.now() - start) / 1000).toFixed(0).padStart(4)} s  ${line}`);
}

/** Checks everything that needs no download. */
function checkMachine() {
  const why = unsupportedPlatform();
  const fix = 'The tests that need it are skipped elsewhere.';
  if (why !== undefined) throw new BuildFailure('PLATFORM', why, fix);
  const report = /** @type {{ header?: { glibcVersionRuntime?: string } }} */ (process.report.getReport());
  if (report.header?.glibcVersionRuntime === undefined)
    throw new BuildFailure('PLATFORM', 'TensorFlow needs glibc, and this system has another C library', fix);
  const compiler = findCompiler();
  const { bavail, bsize } = statfsSync(dirname(buildFolder));
  if (bavail * bsize < NEEDED_BYTES)
    throw new BuildFailure(
      'NO_SPACE',
      `${Math.round((bavail * bsize) / 1e6)} MB are free at ${dirname(buildFolder)}, ${NEEDED_BYTES / 1e6} are needed`,
      'Free some space.',
    );
  return compiler;
}

/** Waits while another process builds; a process that died in the middle does not count. */
async function takeLock() {
  for (let told = false; ; ) {
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx' });
      return;
    } catch {
      const owner = existsSync(lock) ? Number(readFileSync(lock, 'utf8')) : 0;
      if (owner > 0 && isAlive(owner)) {
        if (!told) log(`process ${owner} is building it; waiting`);
        told = true;
        await sleep(1000);
        // A lock without a process id yet counts as taken for a moment.
      } else if (owner > 0 || !existsSync(lock) || Date.now() - statSync(lock).mtimeMs > 5000)
        rmSync(lock, { force: true });
      else await sleep(200);
    }
  }
}

/** @param {number} pid */
function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/**
 * Runs a step unless an earlier run of this script finished it.
 *
 * @param {string} name
 * @param {() => void | Promise<void>} step
 */
async function once(name, step) {
  const mark = join(partial, `.${name}-done`);
  if (existsSync(mark)) return log(`${name}: done before`);
  await step();
  writeFileSync(mark, '');
}

function installPackages() {
  log(`npm install @tensorflow/tfjs-node@${tfjsNodeVersion}, without its install script`);
  const dependencies = {
    '@tensorflow/tfjs-node': tfjsNodeVersion,
    'node-api-headers': nodeApiHeadersVersion,
  };
  writeFileSync(join(partial, 'package.json'), JSON.stringify({ private: true, dependencies }));
  const flags = ['--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock', '--loglevel=error'];
  const { status, error } = spawnSync('npm', ['install', ...flags], { cwd: partial, stdio: 'inherit' });
  if (status !== 0)
    throw new BuildFailure(
      'NPM_FAILED',
      error ? `npm does not start: ${error.message}` : `npm install ended with status ${status}, see above`,
      'Let npm reach its registry, and try again.',
    );
}

/** The headers that the binding includes, and the two libraries. */
const headers = /^tensorflow\/include\/((?:tensorflow\/c|tensorflow\/core\/platform|tsl|xla\/tsl)\/.*\.h)$/;
const libraries = /^tensorflow\/(libtensorflow_(?:cc|framework)\.so\.2)$/;

/**
 * @param {string} deps
 * @param {string | undefined} given
 */
async function unpackTensorFlow(deps, given) {
  log(`TensorFlow ${wheel.version} from ${given ?? wheel.file}`);
  const file = given ?? (await getWheel(wheel, partial, { log }));
  log('unpacking');
  const written = await unzip(file, deps, (name) => {
    const header = headers.exec(name)?.[1];
    const library = libraries.exec(name)?.[1];
    return header ? join('include', header) : library ? join('lib', library) : undefined;
  });
  for (const [link, target] of [
    ['libtensorflow.so', 'libtensorflow_cc.so.2'],
    ['libtensorflow_framework.so', 'libtensorflow_framework.so.2'],
  ]) {
    const at = join(deps, 'lib', String(link));
    if (!existsSync(join(deps, 'lib', String(target))))
      throw new BuildFailure(
        'BAD_WHEEL',
        `${basename(file)} has no ${target}`,
        'Take a wheel of TensorFlow for Linux.',
      );
    rmSync(at, { force: true });
    symlinkSync(String(target), at);
  }
  log(`${written} files`);
  rmSync(join(partial, wheel.file), { force: true });
}

// `util.isNullOrUndefined` is gone since Node 23, and tfjs-node 4.22 still calls it.
const probe = `
  require('node:util').isNullOrUndefined ??= (value) => value === null || value === undefined;
  const tf = require('@tensorflow/tfjs-node');
  const product = tf.matMul([[1, 2], [3, 4]], [[1, 1], [0, 2]]).dataSync();
  const { indices } = tf.topk([1, 5, 3, 5], 2);
  const { binding, isUsingGpuDevice } = tf.backend();
  const right = product.join() === '1,5,3,11' && indices.dataSync().join() === '1,3';
  console.log(JSON.stringify({ right, tensorflow: binding.TF_Version, gpu: isUsingGpuDevice }));
`;

/** Checks that the binding computes, in a separate process because it may well crash. */
function tryOut() {
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, ['-e', probe], {
    cwd: partial,
    encoding: 'utf8',
    env: { ...process.env, TF_CPP_MIN_LOG_LEVEL: '1' },
  });
  const answer = status === 0 ? JSON.parse(stdout.trim().split('\n').at(-1) ?? '{}') : undefined;
  if (answer?.right) return answer;
  const what = answer ? 'computes a wrong result' : `ends with ${signal ?? `status ${status}`}`;
  throw new BuildFailure(
    'DOES_NOT_RUN',
    `the binding ${what}:\n${stdout}${stderr}`,
    'Try again with --force.',
  );
}

/** Invalidates the build before removing it: removing a gigabyte may be interrupted. */
function removeBuild() {
  rmSync(join(buildFolder, 'build.json'), { force: true });
  rmSync(buildFolder, { recursive: true, force: true });
}

/** @param {{ force?: boolean | undefined, wheel?: string | undefined }} options */
async function build({ force = false, wheel: given }) {
  mkdirSync(dirname(buildFolder), { recursive: true });
  const compiler = checkMachine();
  await takeLock();
  process.on('exit', () => rmSync(lock, { force: true }));
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130));
  if (force) {
    log('removing the last build');
    removeBuild();
    rmSync(partial, { recursive: true, force: true });
  } else if (isBuilt()) return;
  mkdirSync(partial, { recursive: true });
  const tfjsNode = join(partial, 'node_modules', '@tensorflow', 'tfjs-node');
  await once('packages', installPackages);
  await once('tensorflow', () => unpackTensorFlow(join(tfjsNode, 'deps'), given && resolve(given)));
  log(`compiling with ${compiler.version}`);
  compileBinding(tfjsNode, join(partial, 'node_modules', 'node-api-headers', 'include'), compiler.command);
  const { tensorflow, gpu } = tryOut();
  const facts = {
    tfjsNode: tfjsNodeVersion,
    tensorflow,
    gpu,
    compiler: compiler.version,
    node: process.version,
  };
  writeFileSync(join(partial, 'build.json'), `${JSON.stringify(facts, null, 2)}\n`);
  removeBuild();
  renameSync(partial, buildFolder);
  log(`built: it computes on ${gpu ? 'a GPU' : 'the CPU'}, TensorFlow ${tensorflow}`);
}

async function main() {
  const { values } = parseArgs({
    options: {
      help: { type: 'boolean', short: 'h' },
      check: { type: 'boolean' },
      force: { type: 'boolean' },
      wheel: { type: 'string' },
    },
  });
  if (values.help) return console.log(help);
  if (values.check) {
    log(isBuilt() ? buildFolder : 'not built');
    process.exitCode = isBuilt() ? 0 : 1;
    return;
  }
  if (isBuilt() && !values.force) return log(`is there: ${buildFolder}`);
  await build(values);
}

try {
  await main();
} catch (error) {
  if (error instanceof BuildFailure) {
    console.error(`tfjs-node was not built [${error.code}]: ${error.message}\n${error.fix}`);
    process.exitCode = 1;
  } else if (
    error instanceof TypeError &&
    'code' in error &&
    String(error.code).startsWith('ERR_PARSE_ARGS')
  ) {
    console.error(`${error.message}\n\n${help}`);
    process.exitCode = 2;
  } else throw error;
}
