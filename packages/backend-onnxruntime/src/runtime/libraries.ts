interface NodeModules {
  createRequire(from: string): { readonly cache: { readonly [file: string]: unknown } };
}

interface NodeFiles {
  readdirSync(folder: string): readonly string[];
}

/**
 * True when the library of an execution provider that `onnxruntime-node` does not bundle is known to be missing from the
 * folder of the engine in use. Trying such a provider would print the loader's error to the terminal.
 */
export function lacksLibrary(provider: string): boolean {
  const binding = loadedBinding();
  const files = builtin<NodeFiles>('node:fs');
  if (binding === undefined || files === undefined) return false;
  const names = files.readdirSync(binding.replace(/[^\\/]*$/, ''));
  return !names.some((name) => name.includes(`onnxruntime_providers_${provider}.`));
}

/** File of the engine's binding that this process has loaded, under Node. */
function loadedBinding(): string | undefined {
  const modules = builtin<NodeModules>('node:module');
  if (modules === undefined) return undefined;
  return Object.keys(modules.createRequire(import.meta.url).cache).find((file) =>
    file.endsWith('onnxruntime_binding.node'),
  );
}

/** A Node module, loaded without an import that bundlers for the web would have to resolve. */
function builtin<T>(name: string): T | undefined {
  const { process } = globalThis as {
    readonly process?: { readonly getBuiltinModule?: (name: string) => unknown };
  };
  return process?.getBuiltinModule?.(name) as T | undefined;
}
