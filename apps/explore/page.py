"""The page of `make explore`: sliders, the picture they make, and DiffuseVAE's refinement of it."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from nicegui import run, ui

from apps.explore.elements import (
    button_of,
    heading,
    offer,
    paragraph,
    picture,
    read_data_url,
    show_images,
    show_number,
    shown_failures,
)
from diffusevae.latents.measures.traversals import REACH
from diffusevae.latents.page.cards import Card
from diffusevae.latents.page.exploring import (
    Explorer,
    interpolate,
    interpolate_evenly,
    read_drawing,
)
from diffusevae.report.page import PALETTE

TITLE = "What the latents do"
STEP = 0.1
MOVES_SECONDS = 0.05  # between two pictures while a slider is moved
PAUSE_SECONDS = 0.1  # before it is refined: the decoded picture goes out first
PAD = 256  # pixels a side of the drawing pad
DRAWING_TIMEOUT = 10.0
ENDS = ("From", "To")
STYLE = Path(__file__).with_suffix(".css")
SCRIPT = Path(__file__).with_suffix(".js")
CANVAS = (
    f'<canvas id="pad" width="{PAD}" height="{PAD}" aria-label="Drawing pad" '
    'onpointerdown="padStart(event)" onpointermove="padMove(event)"></canvas>'
)
refining = asyncio.Lock()  # one at a time, whoever asks


def show_page(explorer: Explorer) -> None:
    """Build the page for one visitor."""
    ui.add_css(PALETTE)
    ui.add_css(STYLE)
    ui.colors(primary="#0072b2")
    ui.dark_mode(None)  # as the visitor's system has it
    ui.add_body_html(f"<script>{SCRIPT.read_text(encoding='utf-8')}</script>")
    Desk(explorer)


class Desk:
    """What one visitor sees, and the code that the sliders stand for."""

    def __init__(self, explorer: Explorer) -> None:
        self.explorer = explorer
        self.code = explorer.encode_test_image(0)
        self.ends = [self.code, explorer.encode_test_image(len(explorer.images) - 1)]
        self.sliders: dict[int, ui.slider] = {}
        self.num_asked = 0  # for refinements; only the last one counts
        ui.html(f"<h1>{TITLE}</h1>", sanitize=False)
        paragraph(
            f"An autoencoder squeezed each image into {explorer.latents} numbers, its "
            "latents. Move one, and see what it means. Every picture here is made by a model "
            f"({explorer.made_by['Model']})."
        )
        with ui.element("div").classes("desk"):
            self._show_pictures()
            self._show_sliders()
            self._show_start()
            self._show_between()
        self._draw()
        self._draw_between()
        show_images(self.refined, explorer.decode([self.code]))  # until its refinement is there
        ui.timer(0, self._refine, once=True)

    def _show_pictures(self) -> None:
        steps = f"{self.explorer.sampler.num_steps} steps"
        with ui.element("div").classes("pictures"):
            self.decoded = self._figure("vae", "Decoded", "by the beta-VAE", refined=False)
            self.refined = self._figure(
                "diffusevae", "Refined", f"by DiffuseVAE, {steps}", refined=True
            )

    def _figure(self, name: str, title: str, by: str, refined: bool) -> ui.element:
        with ui.element("figure").classes(name):
            ui.html(f"{title}<small>{by}</small>", sanitize=False, tag="figcaption")
            image = picture(title)
            ui.button(
                "Download",
                icon="download",
                color=None,
                on_click=lambda: self._download(name, refined),
            ).props("flat dense no-caps")
        return image

    def _show_sliders(self) -> None:
        unused = [card for card in self.explorer.cards if not card.used]
        with ui.element("div").classes("sliders"):
            heading("Latents, the most informative first")
            for card in self.explorer.cards:
                if card.used:
                    self._show_slider(card)
            if unused:
                with ui.expansion(f"Latents that carry nothing: {len(unused)}"):
                    for card in unused:
                        self._show_slider(card)

    def _show_slider(self, card: Card) -> None:
        with ui.element("div").classes("latent"):
            with ui.element("div").classes("names"):
                ui.label(card.title).classes("meaning")
                ui.label(card.detail).classes("detail")
            value = ui.label().classes("value")
            slider = ui.slider(min=-REACH, max=REACH, step=STEP, value=self.code[card.latent])
            value.bind_text_from(slider, "value", show_number)
            slider.props(f'aria-label="{card.detail}"')
            slider.on(
                "update:model-value",
                lambda event: self._move(card.latent, event.args),
                throttle=MOVES_SECONDS,
            )
        self.sliders[card.latent] = slider

    def _show_start(self) -> None:
        with ui.element("div").classes("start"):
            heading("Start from a test image")
            with ui.element("div").classes("thumbs"):
                for index, image in enumerate(self.explorer.images):
                    with button_of(
                        lambda i=index: self._start(lambda: self.explorer.encode_test_image(i))
                    ):
                        picture(f"Test image {index}", image[None] / 255)
            with ui.element("div").classes("draw"):
                with ui.element("div"):
                    heading("… or draw one")
                    ui.html(CANVAS, sanitize=False)
                with ui.element("div"):
                    ui.button("Use the drawing", on_click=self._use_drawing)
                    ui.button(
                        "Clear", color=None, on_click=lambda: ui.run_javascript("padClear()")
                    ).props("flat")

    def _show_between(self) -> None:
        with ui.element("div").classes("between"):
            heading("From one picture to another")
            paragraph(
                "Make a picture above, and take it as one end. The code goes along the "
                "straight line between the two."
            )
            self.end_pictures = []
            with ui.element("div").classes("ends"):
                for i, name in enumerate(ENDS):
                    with ui.element("div").classes("end"):
                        self.end_pictures.append(picture(name))
                        ui.button(
                            f"{name} this picture", color=None, on_click=lambda i=i: self._keep(i)
                        ).props("outline")
            with ui.element("div").classes("strip"):
                self.strip = picture("Nine pictures from one to the other")
            with ui.element("div").classes("share"):
                share = ui.slider(min=0, max=1, step=0.01, value=0)
                share.props('aria-label="Where between the two"')
            share.on(
                "update:model-value",
                lambda event: self._go_between(event.args),
                throttle=MOVES_SECONDS,
            )
            ui.button(
                "Download the strip", icon="download", color=None, on_click=self._download_strip
            ).props("flat dense no-caps")

    async def _move(self, latent: int, value: float) -> None:
        with shown_failures():
            self.code = self.explorer.move(self.code, latent, value)
            self._draw()
            await self._refine()

    async def _go_between(self, share: float) -> None:
        start, end = self.ends
        self._set(interpolate(start, end, share))
        await self._refine()

    def _set(self, code: Sequence[float]) -> None:
        """Take a code: sliders and picture follow."""
        self.code = list(code)
        for latent, slider in self.sliders.items():
            slider.value = self.code[latent]
        self._draw()

    async def _start(self, encode: Callable[[], list[float]]) -> None:
        with shown_failures():
            self._set(encode())
            await self._refine()

    async def _use_drawing(self) -> None:
        url = await ui.run_javascript(
            'document.getElementById("pad").toDataURL("image/png")', timeout=DRAWING_TIMEOUT
        )
        shape = self.explorer.model.shape
        await self._start(lambda: self.explorer.encode(read_drawing(read_data_url(url), shape)))

    def _keep(self, end: int) -> None:
        self.ends[end] = self.code
        self._draw_between()

    def _draw(self) -> None:
        show_images(self.decoded, self.explorer.decode([self.code]))
        self.refined.classes(add="stale")

    def _draw_between(self) -> None:
        codes = interpolate_evenly(*self.ends)
        images = self.explorer.decode(codes)
        show_images(self.strip, images)
        for image, shown in zip(self.end_pictures, (images[:1], images[-1:]), strict=True):
            show_images(image, shown)

    async def _refine(self) -> None:
        """Show the refinement when it is ready, unless another has been asked for by then."""
        # Whatever changes the picture asks: a move that was held back may come last of all.
        self.num_asked += 1
        mine = self.num_asked
        await asyncio.sleep(PAUSE_SECONDS)
        async with refining:
            if mine != self.num_asked:
                return
            decoded = self.explorer.decode([self.code])
            refined = await run.io_bound(self.explorer.refine, decoded)
        if mine == self.num_asked and refined is not None:  # None: the server is being stopped
            show_images(self.refined, refined)
            self.refined.classes(remove="stale")

    async def _download(self, name: str, refined: bool) -> None:
        images = self.explorer.decode([self.code])
        if refined:
            async with refining:
                made = await run.io_bound(self.explorer.refine, images)
            if made is None:  # the server is being stopped
                return
            images = made
        offer(images, self.explorer.describe([self.code], refined), name)

    def _download_strip(self) -> None:
        codes = interpolate_evenly(*self.ends)
        offer(self.explorer.decode(codes), self.explorer.describe(codes, refined=False), "strip")
