// Loads a bundle of realm-program.mjs, and with it the engine, into another realm than Node's with another module loader, as
// Jest does. Started by tests with `--experimental-vm-modules` and the bundle's path.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import vm from 'node:vm';

// What jest-environment-node shares with the realm: bytes, but no other typed array.
const context = vm.createContext({
  ArrayBuffer,
  Uint8Array,
  Buffer,
  TextDecoder,
  process,
  performance,
  setImmediate,
});
const natively = createRequire(import.meta.url);

/** CommonJS. Native addons and Node's own modules come from Node itself. */
const required = new Map();
function requireFile(file) {
  if (file.endsWith('.node') || !file.startsWith('/')) return natively(file);
  const known = required.get(file);
  if (known !== undefined) return known.exports;
  const module = { exports: {} };
  required.set(file, module);
  if (file.endsWith('.json')) {
    module.exports = JSON.parse(readFileSync(file, 'utf8'));
    return module.exports;
  }
  const { resolve } = createRequire(file);
  const parameters = ['exports', 'require', 'module', '__filename', '__dirname'];
  const options = { filename: file, parsingContext: context };
  const run = vm.compileFunction(readFileSync(file, 'utf8'), parameters, options);
  run(module.exports, (name) => requireFile(resolve(name)), module, file, dirname(file));
  return module.exports;
}

const modules = new Map();
function moduleOf(name, from) {
  const file = createRequire(from).resolve(name);
  const known = modules.get(file);
  if (known !== undefined) return known;
  const made = file.includes('node_modules') || !file.startsWith('/') ? synthetic(file) : source(file);
  modules.set(file, made);
  return made;
}

function synthetic(file) {
  const exported = requireFile(file);
  const names = Object.keys(exported).filter((name) => name !== 'default');
  return new vm.SyntheticModule(
    ['default', ...names],
    function () {
      this.setExport('default', exported);
      for (const name of names) this.setExport(name, exported[name]);
    },
    { context },
  );
}

function source(file) {
  return new vm.SourceTextModule(readFileSync(file, 'utf8'), {
    context,
    identifier: file,
    importModuleDynamically: async (name) => {
      const made = moduleOf(name, file);
      if (made.status === 'unlinked') await made.link((inner, { identifier }) => moduleOf(inner, identifier));
      await made.evaluate();
      return made;
    },
  });
}

const program = source(process.argv[2]);
await program.link((name, { identifier }) => moduleOf(name, identifier));
await program.evaluate();
const { read, isNarrow } = program.namespace;
process.stdout.write(JSON.stringify({ read: [...read].map((one) => [...one]), isNarrow }));
