import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Goldens, goldensFolder } from '@topk-attention/t5-goldens';

/** The folder of the embedded model. */
export const embedded: string = fileURLToPath(new URL('../../model', import.meta.url));

/** A question about a text, with what Python transformers answered. */
export interface Question {
  readonly prompt: string;
  /** Its tokens, and those of the answer. */
  readonly ids: readonly number[];
  readonly answerIds: readonly number[];
  readonly answer: string;
}

/** The questions that the embedded model was asked, the shortest first. */
export async function questions(): Promise<{
  readonly maxNewTokens: number;
  readonly list: readonly Question[];
}> {
  const manifest: { maxNewTokens: number; prompts: string[]; answers: string[] } = JSON.parse(
    readFileSync(`${goldensFolder}/embedded/manifest.json`, 'utf8'),
  );
  const goldens = await Goldens.read('embedded/goldens.safetensors');
  const answers = goldens.packed('generate.ids', 'generate.starts');
  const list = goldens
    .packed('generate.promptIds', 'generate.promptStarts')
    .map((ids, at) => ({
      prompt: manifest.prompts[at] as string,
      ids,
      answerIds: answers[at] as readonly number[],
      answer: manifest.answers[at] as string,
    }))
    .sort((a, b) => a.ids.length - b.ids.length);
  return { maxNewTokens: manifest.maxNewTokens, list };
}
