import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

export interface OrtTensor {
  readonly data: Float32Array;
}

/** What the benches use of `onnxruntime-node`. */
export interface Ort {
  readonly Tensor: new (
    type: string,
    data: Float32Array | Uint16Array,
    shape: readonly number[],
  ) => OrtTensor;
  readonly InferenceSession: {
    create(
      model: Uint8Array,
      options: object,
    ): Promise<{
      run(feeds: Record<string, OrtTensor>): Promise<Record<string, OrtTensor>>;
      release(): Promise<void>;
    }>;
  };
}

/** A package that this one does not depend on: resolved from this package, or from one of its neighbours. */
export async function importByName(name: string, neighbour?: string): Promise<unknown> {
  const own = dirname(dirname(fileURLToPath(import.meta.url)));
  const folders = [own, ...(neighbour === undefined ? [] : [join(dirname(own), neighbour)])];
  for (const folder of folders) {
    try {
      const path = createRequire(join(folder, 'package.json')).resolve(name);
      return await import(pathToFileURL(path).href);
    } catch (error) {
      if (!/MODULE_NOT_FOUND/.test((error as { code?: string }).code ?? '')) throw error;
    }
  }
  throw new Error(`the package ${name} is not installed`);
}
