import { bytesSource, type CheckpointStore, encodeSafetensors, openSafetensors } from '@topk-attention/nn';
import type { Settings } from './settings.js';
import { encodeText } from './text.js';

/**
 * The model of a checkpoint as a safetensors file: the tensors as they are, and in the metadata what is needed to build
 * the model again.
 */
export async function exportModel(
  store: CheckpointStore,
  step: number,
  settings: Settings,
  text: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const file = await openSafetensors(bytesSource(await store.read(step, 'model.safetensors')));
  const tensors = await Promise.all(
    [...file.tensors].map(async ([name, { shape }]) => {
      const data = await file.readFloat32(name);
      return [name, { dtype: 'F32' as const, shape, data }] as const;
    }),
  );
  await file.close();
  const { vocabulary } = encodeText(text, settings);
  const metadata = {
    format: 'pt',
    settings: JSON.stringify(settings),
    vocabulary: JSON.stringify(vocabulary),
    step: String(step),
  };
  // A copy in a buffer of its own, which can be moved to the page.
  return new Uint8Array(encodeSafetensors(Object.fromEntries(tensors), metadata));
}
