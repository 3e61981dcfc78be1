// Compiles tfjs-node's binding: two C++ files against Node-API and TensorFlow's C API. The package's own build
// does no more through node-gyp, which would also need Python and make.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BuildFailure } from './failure.mjs';

/**
 * A C++ compiler of this machine: `$CXX`, or the first of the usual names.
 *
 * @returns {{ command: string, version: string }}
 */
export function findCompiler() {
  const names = process.env.CXX ? [process.env.CXX] : ['c++', 'g++', 'clang++'];
  for (const command of names) {
    const { status, stdout } = spawnSync(command, ['--version'], { encoding: 'utf8' });
    if (status === 0) return { command, version: stdout.split('\n')[0] ?? '' };
  }
  throw new BuildFailure(
    'NO_COMPILER',
    `no C++ compiler found: tried ${names.join(', ')}`,
    'Install one: `apt-get install g++` (Debian, Ubuntu), `dnf install gcc-c++` (Fedora); or name yours in CXX.',
  );
}

/**
 * @param {string} tfjsNode the package's folder, with deps/include and deps/lib in place
 * @param {string} nodeHeaders folder of node_api.h
 * @param {string} compiler
 */
export function compileBinding(tfjsNode, nodeHeaders, compiler) {
  const folder = join(tfjsNode, 'lib', 'napi-v8');
  mkdirSync(folder, { recursive: true });
  const args = [
    ...['-std=c++17', '-O2', '-fPIC', '-shared', '-DNAPI_VERSION=8'],
    ...['-I', nodeHeaders, '-I', join(tfjsNode, 'deps', 'include')],
    ...['tfjs_backend.cc', 'tfjs_binding.cc'].map((file) => join(tfjsNode, 'binding', file)),
    ...['-L', join(tfjsNode, 'deps', 'lib'), '-ltensorflow', '-ltensorflow_framework'],
    // Relative to the binding, so that the folder may be moved.
    '-Wl,-rpath,$ORIGIN/../../deps/lib',
    ...['-o', join(folder, 'tfjs_binding.node')],
  ];
  const { status, stdout, stderr, error } = spawnSync(compiler, args, {
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  if (status === 0) return;
  const log = join(tfjsNode, 'compile.log');
  writeFileSync(log, `${compiler} ${args.join(' ')}\n${stdout}${stderr}${error ?? ''}`);
  const first =
    stderr?.split('\n').find((line) => /error|cannot/i.test(line)) ?? String(error ?? `status ${status}`);
  throw new BuildFailure('COMPILE_FAILED', first, `The whole output is in ${log}.`);
}
