import { Command } from '@commander-js/extra-typings';
import { print } from '../../src/node/cli/io.js';
import { runMain } from '../../src/node/cli/run-main.js';

await runMain((io) =>
  new Command('tool')
    .addCommand(new Command('hello').action(() => print(io, 'hello')))
    .addCommand(
      new Command('wait').action(async () => {
        print(io, 'waiting');
        await new Promise((resolve) => {
          const alive = setInterval(() => {}, 1000);
          io.signal.addEventListener('abort', () => {
            clearInterval(alive);
            resolve(undefined);
          });
        });
        io.signal.throwIfAborted();
      }),
    )
    .addCommand(
      new Command('stay').action(async () => {
        io.signal.addEventListener('abort', () => print(io, 'not yet'));
        print(io, 'waiting');
        await new Promise(() => setInterval(() => {}, 1000));
      }),
    ),
);
