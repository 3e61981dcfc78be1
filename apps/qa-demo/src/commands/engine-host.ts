import type { Command, Options } from '../args/command.js';
import { seeHelp } from '../args/parse.js';
import { UsageError } from '../args/usage-error.js';
import { openEngine } from '../engine/open-engine.js';
import type { AnswerEvents, Engine } from '../engine/types.js';
import { reportOf } from '../output/errors.js';
import { ENGINE_HOST } from '../processes/engine-child.js';
import type { FromChild, ToChild } from '../processes/messages.js';

/** The other end of EngineChild: opens a model and answers questions that come as messages, until the parent is gone. */
export const engineHost: Command<Options> = {
  name: ENGINE_HOST,
  summary: 'internal: answers the questions of a parent process',
  usage: '',
  options: {},
  notes: [],
  isInternal: true,

  async run(_values, io) {
    if (process.send === undefined) throw new UsageError(`${ENGINE_HOST} is internal`, seeHelp());
    const send = (message: FromChild): void => void process.send?.(message);
    let engine: Engine | undefined;
    const onProgress = (stage: string, done: number, total: number): void =>
      send({ type: 'progress', stage, done, total });
    const handle = async (message: ToChild): Promise<void> => {
      try {
        if (message.type === 'open') {
          engine = await openEngine(message.settings, { onProgress }, io.signal);
          send({ type: 'opened', info: engine.info });
        } else if (engine !== undefined) {
          const events: AnswerEvents = {
            onStart: (promptTokens, known) => send({ type: 'started', promptTokens, known }),
            onProgress,
            onText: (piece) => send({ type: 'text', piece }),
          };
          const answer = await engine.answer(message.request, events, io.signal);
          send({ type: 'answered', answer });
        }
      } catch (error) {
        send({ type: 'failed', error: reportOf(error) });
      }
    };
    process.on('message', (message: ToChild) => void handle(message));
    // A terminal sends its Ctrl-C to parent and child alike; the parent decides.
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.removeAllListeners(signal).on(signal, () => {});
    await new Promise<void>((resolve) => process.once('disconnect', resolve));
    // A parent that was killed waits for nobody, and an engine in the middle of a run would hold the process.
    process.exit(0);
  },
};
