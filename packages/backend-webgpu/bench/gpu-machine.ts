// `pnpm bench gpu-machine`: packs the table of gpu-table.ts for a machine with a GPU, or runs it here.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

const usage = `pnpm bench gpu-machine [--folder .gpu-machine] [--here [options of the table]]

Packs everything a bare Linux x64 machine with a GPU needs into a folder; \`bash FOLDER/run.sh\` there prints the table.
--here runs it on this machine instead (options after it go to the table; see \`--here --help\`).`;

interface Packed {
  readonly folder: string;
  readonly node: string;
  readonly webgpu: string;
  readonly debs: number;
}

interface Packer {
  pack(options: { readonly folder: string; readonly entry: string }): Promise<Packed>;
}

async function main(argv: readonly string[]): Promise<number> {
  const compiled = dirname(fileURLToPath(import.meta.url));
  const entry = join(compiled, 'gpu-table.js');
  const at = argv.indexOf('--here');
  if (at >= 0) {
    return spawnSync(process.execPath, [entry, ...argv.slice(at + 1)], { stdio: 'inherit' }).status ?? 1;
  }
  const { values } = parseArgs({
    args: [...argv],
    options: {
      backend: { type: 'string' },
      folder: { type: 'string', default: '.gpu-machine' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  const script = join(compiled, '..', '..', '..', 'tooling', 'gpu-machine', 'pack.mjs');
  if (!existsSync(script)) throw new Error(`${script} is missing: run this in the repository`);
  const packer: Packer = await import(pathToFileURL(script).href);
  const { folder, node, webgpu, debs } = await packer.pack({ folder: values.folder, entry });
  console.log(`${folder}: node ${node}, webgpu ${webgpu}, ${debs} packages of the Vulkan loader`);
  console.log(`Copy it to the machine with the GPU and run: bash ${folder}/run.sh`);
  return 0;
}

process.exit(await main(process.argv.slice(2)));
