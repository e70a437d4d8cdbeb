// The official client for Node, unmodified: does what its argument names against a proxy, and prints what it read as JSON.
// node client.mjs BASE_URL OPERATION PICTURE...
import { createReadStream, readFileSync } from "node:fs";
import OpenAI, { toFile } from "openai";

const [baseURL, operation, ...pictures] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "not-needed", maxRetries: 2 });
const model = process.env.MODEL ?? "sandbox";

const dataUrl = (path) => `data:image/png;base64,${readFileSync(path).toString("base64")}`;
const turn = (text, paths) => [
  {
    role: "user",
    content: [{ type: "text", text }, ...paths.map((path) => ({ type: "image_url", image_url: { url: dataUrl(path) } }))],
  },
];

const operations = {
  async chat() {
    const answer = await client.chat.completions.create({ model, messages: turn("make it grayscale", pictures) });
    const message = answer.choices[0].message;
    return { images: message.images, content: message.content, finish: answer.choices[0].finish_reason, receipt: answer.darkroom_receipt };
  },
  async stream() {
    const stream = await client.chat.completions.create({ model, messages: turn("make it grayscale", pictures), stream: true });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    return {
      images: chunks.flatMap((chunk) => chunk.choices[0].delta.images ?? []),
      finish: chunks.at(-1).choices[0].finish_reason,
      receipt: chunks.at(-1).darkroom_receipt,
    };
  },
  async generate() {
    const answer = await client.images.generate({ model, prompt: "a red sun over the sea", size: "256x256" });
    return { images: answer.data, created: answer.created, receipt: answer.darkroom_receipt };
  },
  async edit() {
    const answer = await client.images.edit({ model, prompt: "make it grayscale", image: createReadStream(pictures[0]) });
    return { images: answer.data, receipt: answer.darkroom_receipt };
  },
  async edit_many() {
    const image = await Promise.all(pictures.map((path) => toFile(readFileSync(path), "upload")));
    const answer = await client.images.edit({ model, prompt: "side by side", image });
    return { images: answer.data };
  },
  async partials() {
    const events = [];
    for await (const event of await client.images.generate({ model, prompt: "x", stream: true, partial_images: 2 })) events.push(event);
    const image = createReadStream(pictures[0]);
    for await (const event of await client.images.edit({ model, prompt: "x", image, stream: true, partial_images: 1 })) events.push(event);
    const chat = { model, messages: turn("x", pictures), stream: true, partial_images: 2 };
    for await (const chunk of await client.chat.completions.create(chat)) events.push(...(chunk.choices[0].delta.images ?? []));
    return { events };
  },
  async broken_partials() {
    for await (const event of await client.images.generate({ model, prompt: "x", stream: true, partial_images: 2 })) void event;
  },
  async responses() {
    const input = [{ role: "user", content: [
      { type: "input_text", text: "make it grayscale" },
      { type: "input_image", image_url: dataUrl(pictures[0]), detail: "auto" },
    ] }];
    const tools = [{ type: "image_generation" }];
    const answer = await client.responses.create({ model, input, tools });
    const events = [];
    for await (const event of await client.responses.create({ model, input, tools, stream: true })) events.push(event);
    const last = events.at(-1).response;
    return {
      images: [...answer.output, ...last.output].map((call) => ({ b64_json: call.result })),
      kinds: events.map((event) => event.type),
      receipts: [answer.darkroom_receipt, last.darkroom_receipt],
    };
  },
  async models() {
    const listed = [];
    for await (const one of client.models.list()) listed.push(one.id);
    const ours = listed.filter((id) => !id.startsWith("gpt"));
    return { listed, retrieved: await Promise.all(ours.map(async (id) => (await client.models.retrieve(id)).id)) };
  },
  async text_stream() {
    const stream = await client.chat.completions.create({ model: "gpt", messages: [{ role: "user", content: "hi" }], stream: true });
    const said = [];
    for await (const chunk of stream) said.push(chunk.choices[0].delta.content);
    return { said };
  },
  async bad_request() {
    return client.chat.completions.create({ model, messages: [{ role: "user", content: [{ type: "image_url", image_url: 7 }] }] });
  },
  async bad_model() {
    return client.images.generate({ model: "no-such-model", prompt: "x" });
  },
};

try {
  console.log(JSON.stringify(await operations[operation]()));
} catch (error) {
  const { status, message, code, param, type, requestID } = error;
  console.log(JSON.stringify({ error: { kind: error.constructor.name, status, message, code, param, type, requestID } }));
}
