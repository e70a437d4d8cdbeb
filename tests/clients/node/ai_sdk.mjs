// The AI SDK, unmodified, with two of its providers: does everything in one process, and prints what it read as JSON.
// node ai_sdk.mjs BASE_URL FOLDER
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { createOpenRouter } from "@openrouter/ai-sdk-provider";
import { generateImage, generateText, streamText } from "ai";

const [baseURL, folder] = process.argv.slice(2);
const compatible = createOpenAICompatible({ name: "darkroom", baseURL, apiKey: "not-needed" });
const openrouter = createOpenRouter({ baseURL, apiKey: "not-needed" });
const model = "sandbox";

const pictures = [0, 1, 2].map((place) => readFileSync(join(folder, `${place}.png`)));
const otherMask = readFileSync(join(folder, "mask-of-another-size.png"));
const turn = (text, images) => [
  { role: "user", content: [{ type: "text", text }, ...images.map((data) => ({ type: "file", data, mediaType: "image/png" }))] },
];
const onlyPictures = (files) => files.filter((file) => file.mediaType.startsWith("image/")).map((file) => file.base64);
const images = (answer) => ({ images: answer.images.map((image) => image.base64), types: answer.images.map((image) => image.mediaType) });

async function image(prompt, more = {}) {
  return images(await generateImage({ model: compatible.imageModel(model), prompt, ...more }));
}
async function talk(chat, text, sent) {
  const answer = await generateText({ model: chat, messages: turn(text, sent) });
  return { images: onlyPictures(answer.files), text: answer.text, finish: answer.finishReason };
}
async function listen(chat, text, sent) {
  const errors = [];
  const answer = streamText({ model: chat, messages: turn(text, sent), onError: ({ error }) => errors.push(error) });
  const files = [];
  for await (const part of answer.fullStream) if (part.type === "file") files.push(part.file);
  if (errors.length) throw errors[0];
  return { images: onlyPictures(files), text: await answer.text, finish: await answer.finishReason };
}

const operations = {
  generate: () => image("a red sun over the sea", { size: "256x256" }),
  generate_two: () => image("a red sun over the sea", { size: "256x256", n: 2 }),
  generate_jpeg: () => image("a red sun", { providerOptions: { darkroom: { output_format: "jpeg" } } }),
  edit: () => image({ text: "make it grayscale", images: [pictures[0]] }),
  edit_three: () => image({ text: "side by side", images: pictures }),
  unknown_model: () => generateImage({ model: compatible.imageModel("no-such-model"), prompt: "x" }),
  bad_mask: () => image({ text: "make it grayscale", images: [pictures[0]], mask: otherMask }),
  compatible_chat: () => talk(compatible.chatModel(model), "make it grayscale", [pictures[0]]),
  compatible_unknown_model: () => talk(compatible.chatModel("no-such-model"), "x", []),
  openrouter_generate: () => talk(openrouter.chat(model, { extraBody: { size: "256x256" } }), "a red sun over the sea", []),
  openrouter_two: () => talk(openrouter.chat(model, { extraBody: { n: 2 } }), "make it grayscale", [pictures[0]]),
  openrouter_chat: () => talk(openrouter.chat(model), "make it grayscale", [pictures[0]]),
  openrouter_three: () => talk(openrouter.chat(model), "side by side", pictures),
  openrouter_stream: () => listen(openrouter.chat(model), "make it grayscale", [pictures[0]]),
  openrouter_unknown_model: () => talk(openrouter.chat("no-such-model"), "x", []),
  openrouter_stream_unknown_model: () => listen(openrouter.chat("no-such-model"), "x", []),
  openrouter_image: async () => images(await generateImage({ model: openrouter.imageModel(model), prompt: "a red sun" })),
};

const read = {};
for (const [name, operation] of Object.entries(operations)) {
  try {
    read[name] = await operation();
  } catch (thrown) {
    const { name: kind, message, statusCode } = thrown.lastError ?? thrown;
    read[name] = { error: { class: kind, message, status_code: statusCode } };
  }
}
console.log(JSON.stringify(read));
