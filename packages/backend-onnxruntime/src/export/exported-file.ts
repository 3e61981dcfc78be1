import type { LazyBytes } from '../onnx/lazy-bytes.js';

/**
 * A file of an exported model. Weights are read from the model while the file is read, one at a time, so the model must
 * not be disposed of before. It can be read several times.
 */
export interface ExportedFile {
  readonly byteLength: number;
  /** Its bytes, part by part: no more than one weight is in memory. */
  parts(): AsyncIterable<Uint8Array>;
  /** All of them at once. */
  bytes(): Promise<Uint8Array>;
}

/** Files by their paths in a folder, such as those that `exportOnnx` gives. */
export type FilesByPath = { readonly [path: string]: Uint8Array | ExportedFile };

/** A file of bytes that stand or are read one after the other. */
export function exportedFile(content: readonly (Uint8Array | LazyBytes)[]): ExportedFile {
  const byteLength = content.reduce((sum, part) => sum + part.byteLength, 0);
  async function* parts(): AsyncIterable<Uint8Array> {
    for (const part of content) yield 'read' in part ? await part.read() : part;
  }
  return {
    byteLength,
    parts,
    async bytes() {
      const joined = new Uint8Array(byteLength);
      let at = 0;
      for await (const part of parts()) {
        joined.set(part, at);
        at += part.length;
      }
      return joined;
    },
  };
}

/**
 * All files in memory, for engines that take bytes. The model may be disposed of afterwards.
 *
 * @example
 * const model = await loadT5({ backend, source: 'model' });
 * const files = await readExported(await exportOnnx(model));
 * model.dispose();
 * console.log(files['onnx/encoder_model.onnx'] instanceof Uint8Array); // prints: true
 */
export async function readExported(files: FilesByPath): Promise<{ readonly [path: string]: Uint8Array }> {
  const read: { [path: string]: Uint8Array } = {};
  for (const [path, file] of Object.entries(files)) {
    read[path] = file instanceof Uint8Array ? file : await file.bytes();
  }
  return read;
}
