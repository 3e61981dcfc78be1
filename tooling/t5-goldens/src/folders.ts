import { fileURLToPath } from 'node:url';

/** Checkpoints and golden values that `tooling/goldens/t5.py` wrote. */
export const goldensFolder: string = fileURLToPath(new URL('../goldens', import.meta.url));

/** A small random BERT that `tooling/goldens/encoders.py` wrote, for examples. */
export const smallEncoder: string = fileURLToPath(new URL('../goldens/encoders/bert', import.meta.url));

/** The Hugging Face folder of the small trained T5 that the repository ships. */
export const embeddedModel: string = fileURLToPath(new URL('../../../apps/qa-demo/model', import.meta.url));

/** The Hugging Face folder of stories260K, a small trained Llama, with what Python transformers makes of it. */
export const storiesModel: string = fileURLToPath(new URL('../goldens/stories260K', import.meta.url));
